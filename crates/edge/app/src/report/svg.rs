//! The few parts from which charts are drawn: escaping, numbers, scales, ticks. Colours come from the page's style sheet
//! through classes, so a chart follows the light and the dark scheme.

use std::fmt::Write as _;

/// `text` with the five characters that mean something in HTML and XML replaced.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A drawing under construction.
#[derive(Debug)]
pub struct Svg {
    body: String,
    width: f64,
    height: f64,
}

impl Svg {
    /// An empty drawing of the given size, in units that the page scales.
    pub fn new(width: f64, height: f64) -> Self {
        Self {
            body: String::new(),
            width,
            height,
        }
    }

    /// A line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) -> &mut Self {
        self.push(format_args!(
            r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
            from.0, from.1, to.0, to.1
        ))
    }

    /// A path through points.
    pub fn path(&mut self, class: &str, points: &[(f64, f64)]) -> &mut Self {
        let mut d = String::new();
        for (position, (x, y)) in points.iter().enumerate() {
            let command = if position == 0 { 'M' } else { 'L' };
            let _ = write!(d, "{command}{x:.1} {y:.1}");
        }
        self.push(format_args!(r#"<path class="{class}" d="{d}"/>"#))
    }

    /// A rectangle; a title shows when the pointer rests on it.
    pub fn rect(
        &mut self,
        class: &str,
        at: (f64, f64),
        size: (f64, f64),
        title: Option<&str>,
    ) -> &mut Self {
        let title = title.map_or_else(String::new, |text| {
            format!("<title>{}</title>", escape(text))
        });
        self.push(format_args!(
            r#"<rect class="{class}" x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" rx="1.5">{title}</rect>"#,
            at.0,
            at.1,
            size.0.max(0.0),
            size.1.max(0.0)
        ))
    }

    /// A dot; a title shows when the pointer rests on it.
    pub fn dot(&mut self, class: &str, at: (f64, f64), radius: f64, title: &str) -> &mut Self {
        let title = escape(title);
        self.push(format_args!(
            r#"<circle class="{class}" cx="{:.1}" cy="{:.1}" r="{radius:.1}"><title>{title}</title></circle>"#,
            at.0, at.1
        ))
    }

    /// A text; `anchor` is `start`, `middle` or `end`.
    pub fn text(&mut self, class: &str, at: (f64, f64), anchor: &str, text: &str) -> &mut Self {
        let text = escape(text);
        self.push(format_args!(
            r#"<text class="{class}" x="{:.1}" y="{:.1}" text-anchor="{anchor}">{text}</text>"#,
            at.0, at.1
        ))
    }

    /// The finished drawing with a description for those who cannot see it.
    pub fn finish(self, label: &str) -> String {
        format!(
            r#"<svg viewBox="0 0 {:.0} {:.0}" role="img" aria-label="{}">{}</svg>"#,
            self.width,
            self.height,
            escape(label),
            self.body
        )
    }

    fn push(&mut self, part: std::fmt::Arguments<'_>) -> &mut Self {
        // writing to a String cannot fail
        let _ = self.body.write_fmt(part);
        self
    }
}

/// Maps a range of values to a range of positions.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    /// The linear map that takes the ends of `from` to the ends of `to`. An empty range maps to the middle.
    pub const fn new(from: (f64, f64), to: (f64, f64)) -> Self {
        Self { from, to }
    }

    /// The position of a value; values outside are held at the ends.
    pub fn at(&self, value: f64) -> f64 {
        let span = self.from.1 - self.from.0;
        let share = if span.abs() < f64::EPSILON {
            0.5
        } else {
            ((value - self.from.0) / span).clamp(0.0, 1.0)
        };
        self.to.0 + share * (self.to.1 - self.to.0)
    }
}

/// Round values that cover `low..=high` in about `wanted` steps, first and last at or outside the ends.
pub fn ticks(low: f64, high: f64, wanted: u32) -> Vec<f64> {
    let span = (high - low).max(1e-9);
    let raw = span / f64::from(wanted.max(1));
    let magnitude = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * magnitude)
        .find(|step| *step >= raw * 0.999)
        .unwrap_or(10.0 * magnitude);
    let first = (low / step + 1e-9).floor();
    let last = (high / step - 1e-9).ceil();
    let mut values = Vec::new();
    let mut position = first;
    while position <= last && values.len() < 50 {
        values.push(position * step);
        position += 1.0;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        let values = ticks(0.31, 0.78, 5);
        assert!(values.first().is_some_and(|v| *v <= 0.31), "{values:?}");
        assert!(values.last().is_some_and(|v| *v >= 0.78), "{values:?}");
        assert!((4..=8).contains(&values.len()), "{values:?}");
        assert_eq!(ticks(0.0, 0.0, 4), vec![0.0]);
    }

    #[test]
    fn text_in_a_drawing_is_escaped() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text("t", (0.0, 0.0), "start", "<script>alert('x')</script>");
        let drawn = svg.finish("a \"label\"");
        assert!(!drawn.contains("<script>"), "{drawn}");
        assert!(drawn.contains("&lt;script&gt;"), "{drawn}");
        assert!(drawn.contains("a &quot;label&quot;"), "{drawn}");
    }

    #[test]
    fn values_outside_a_scale_stay_at_its_ends() {
        let scale = Scale::new((0.0, 1.0), (10.0, 20.0));
        assert_eq!(scale.at(2.0), 20.0);
        assert_eq!(Scale::new((1.0, 1.0), (0.0, 10.0)).at(1.0), 5.0);
    }
}
