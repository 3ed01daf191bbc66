//! The report's charts, drawn on the server as SVG. Every mark has a title, so the figures can be read with the pointer,
//! and every chart stands beside a table that says the same.

use fapo_domain::model::decision::DecisionKind;
use fapo_domain::model::finding::{Attribution, Cluster};
use fapo_domain::model::level::Level;

use super::data::{Candidate, Outcome, ReportData, Score};
use super::svg::{Scale, Svg, ticks};
use crate::output::format;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 64.0;

/// Scores of all candidates in order: train and validation, the incumbent's line, and the level that was open.
pub fn scores(data: &ReportData) -> String {
    const HEIGHT: f64 = 300.0;
    const TOP: f64 = 30.0;
    const BOTTOM: f64 = 264.0;
    let evaluated: Vec<&Candidate> = data
        .candidates
        .iter()
        .filter(|candidate| candidate.train.is_some() || candidate.val.is_some())
        .collect();
    let last = data
        .candidates
        .iter()
        .map(|candidate| candidate.iteration)
        .max()
        .unwrap_or(0);
    let x = Scale::new((0.0, f64::from(last.max(1))), (LEFT + 24.0, WIDTH - RIGHT));
    let means = evaluated.iter().flat_map(|candidate| {
        let train = candidate
            .train
            .as_ref()
            .map(|score| (score.mean, score.mean));
        let val = candidate.val.as_ref().map(|score| {
            if is_incumbent(candidate) {
                (score.low, score.high)
            } else {
                (score.mean, score.mean)
            }
        });
        [train, val].into_iter().flatten()
    });
    let (low, high) = means.fold((1.0f64, 0.0f64), |(low, high), (l, h)| {
        (low.min(l), high.max(h))
    });
    let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
    let axis = ticks(low, high, 5);
    let y = Scale::new(
        (
            axis.first().copied().unwrap_or(0.0),
            axis.last().copied().unwrap_or(1.0),
        ),
        (BOTTOM, TOP),
    );
    let mut svg = Svg::new(WIDTH, HEIGHT);
    level_bands(data, &mut svg, &x, f64::from(last), (TOP - 18.0, BOTTOM));
    axes(&mut svg, (&x, last), (&y, BOTTOM), &axis, &|value| {
        format!("{:.0} %", value * 100.0)
    });
    incumbent_line(&evaluated, &mut svg, &x, &y, f64::from(last));
    for candidate in &evaluated {
        marks(candidate, &mut svg, &x, &y);
    }
    svg.finish("Scores of all candidates by iteration")
}

/// Grid lines with their values, and below them the iterations up to `last`.
fn axes(
    svg: &mut Svg,
    (x, last): (&Scale, u32),
    (y, bottom): (&Scale, f64),
    values: &[f64],
    label: &dyn Fn(f64) -> String,
) {
    for value in values {
        let at = y.at(*value);
        svg.line("grid", (LEFT, at), (WIDTH - RIGHT + 14.0, at));
        svg.text("tick", (LEFT - 8.0, at + 3.5), "end", &label(*value));
    }
    // about twelve names at most
    let every = (last / 12).max(1);
    for iteration in (0..=last).filter(|iteration| iteration % every == 0) {
        let name = match iteration {
            0 => "base".to_owned(),
            _ => iteration.to_string(),
        };
        let at = (x.at(f64::from(iteration)), bottom + 18.0);
        svg.text("tick", at, "middle", &name);
    }
    let at = (WIDTH - RIGHT + 14.0, bottom + 33.0);
    svg.text("axis", at, "end", "iteration");
}

/// Whether the candidate was the incumbent at some time.
const fn is_incumbent(candidate: &Candidate) -> bool {
    matches!(candidate.outcome, Outcome::Baseline | Outcome::Promoted)
}

/// Tints the iterations by the level that was open, with its name above.
fn level_bands(data: &ReportData, svg: &mut Svg, x: &Scale, last: f64, span: (f64, f64)) {
    let lowest = data.allowed.iter().min().copied().unwrap_or(Level::Prompt);
    let mut starts = vec![(0.0, lowest)];
    for decision in &data.decisions {
        if let DecisionKind::LevelOpened { level } = decision.what {
            let from = f64::from(decision.iteration) + 0.5;
            match starts.last_mut() {
                Some(band) if (band.0 - from).abs() < 0.25 || (band.0 == 0.0 && from < 1.0) => {
                    band.1 = level;
                }
                _ => starts.push((from, level)),
            }
        }
    }
    for (position, (from, level)) in starts.iter().enumerate() {
        let until = starts.get(position + 1).map_or(last + 0.5, |next| next.0);
        if *from > last {
            continue;
        }
        let left = if position == 0 { LEFT } else { x.at(*from) };
        let right = if until > last {
            WIDTH - RIGHT + 14.0
        } else {
            x.at(until)
        };
        svg.rect(
            &format!("band lv-{level}"),
            (left, span.0),
            (right - left, span.1 - span.0),
            Some(&format!("level {level}")),
        );
        // a name needs room
        if right - left > 58.0 {
            svg.text(
                "band-name",
                (left + 6.0, span.0 + 12.0),
                "start",
                level.as_str(),
            );
        }
    }
}

fn incumbent_line(evaluated: &[&Candidate], svg: &mut Svg, x: &Scale, y: &Scale, last: f64) {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for candidate in evaluated.iter().filter(|c| is_incumbent(c)) {
        if let Some(val) = &candidate.val {
            let at = (x.at(f64::from(candidate.iteration)), y.at(val.mean));
            if let Some(before) = points.last() {
                let corner = (at.0, before.1);
                points.push(corner);
            }
            points.push(at);
        }
    }
    if let Some(end) = points.last().copied() {
        points.push((x.at(last), end.1));
        svg.path("incumbent", &points);
        if let Some(best) = evaluated
            .iter()
            .rev()
            .filter(|c| is_incumbent(c))
            .find_map(|c| c.val.as_ref())
        {
            svg.text(
                "label",
                (x.at(last) + 20.0, end.1 + 4.0),
                "start",
                &format::percent(best.mean),
            );
        }
    }
}

fn marks(candidate: &Candidate, svg: &mut Svg, x: &Scale, y: &Scale) {
    let at = x.at(f64::from(candidate.iteration));
    let name = candidate.technique.map_or_else(
        || candidate.outcome.label().to_owned(),
        |technique| {
            format!(
                "{} {technique}, {}",
                candidate.iteration,
                candidate.outcome.label()
            )
        },
    );
    if let Some(train) = &candidate.train {
        let place = y.at(train.mean);
        svg.rect(
            "mark-train",
            // beside the validation mark, which would hide it
            (at - 13.0, place - 3.0),
            (6.0, 6.0),
            Some(&format!("{name}: train {}", described(train))),
        );
    }
    if let Some(val) = &candidate.val {
        let title = format!("{name}: validation {}", described(val));
        if is_incumbent(candidate) {
            svg.line("whisker", (at, y.at(val.low)), (at, y.at(val.high)));
            svg.dot("mark-val on", (at, y.at(val.mean)), 5.5, &title);
        } else {
            svg.dot("mark-val", (at, y.at(val.mean)), 4.5, &title);
        }
    }
}

fn described(score: &Score) -> String {
    format!(
        "{} ({}, {})",
        format::percent(score.mean),
        format::percent_interval(score.low, score.high),
        format::counted(score.counted, "case")
    )
}

/// What the job had spent by each iteration: money, or model calls where they cost nothing.
pub fn spending(data: &ReportData) -> String {
    const HEIGHT: f64 = 200.0;
    const TOP: f64 = 14.0;
    const BOTTOM: f64 = 166.0;
    let free = data.balance.total().cost.0 == 0;
    let value = |point: &super::data::SpendPoint| {
        if free {
            point.model_calls as f64
        } else {
            point.cost.usd()
        }
    };
    let last = data
        .spending
        .iter()
        .map(|point| point.iteration)
        .max()
        .unwrap_or(0);
    let top = data.spending.iter().map(value).fold(0.0, f64::max);
    let axis = ticks(0.0, top.max(if free { 1.0 } else { 1e-6 }), 4);
    let x = Scale::new((0.0, f64::from(last.max(1))), (LEFT + 14.0, WIDTH - RIGHT));
    let y = Scale::new((0.0, axis.last().copied().unwrap_or(1.0)), (BOTTOM, TOP));
    let mut svg = Svg::new(WIDTH, HEIGHT);
    axes(&mut svg, (&x, last), (&y, BOTTOM), &axis, &|value| {
        amount(value, free)
    });
    let mut points = vec![(x.at(0.0), y.at(0.0))];
    points.extend(
        data.spending
            .iter()
            .map(|point| (x.at(f64::from(point.iteration)), y.at(value(point)))),
    );
    let mut area = points.clone();
    if let Some(end) = points.last() {
        area.push((end.0, BOTTOM));
        area.push((x.at(0.0), BOTTOM));
        svg.path("area", &area);
        svg.path("spent", &points);
        svg.text(
            "label",
            (end.0 + 8.0, end.1 + 4.0),
            "start",
            &amount(top, free),
        );
    }
    for point in &data.spending {
        svg.dot(
            "mark-spent",
            (x.at(f64::from(point.iteration)), y.at(value(point))),
            2.6,
            &format!(
                "after iteration {}: {} in {}",
                point.iteration,
                point.cost,
                format::counted(point.model_calls, "model call")
            ),
        );
    }
    svg.finish("Spending by iteration")
}

fn amount(value: f64, free: bool) -> String {
    if free {
        format::count(value.round() as u64)
    } else if value == 0.0 {
        "$0".to_owned()
    } else if value < 0.1 {
        format!("${value:.3}")
    } else {
        format!("${value:.2}")
    }
}

/// Baseline and best on one scale, each with its interval.
pub fn intervals(data: &ReportData) -> String {
    let mut rows: Vec<(&str, &str, &Score)> = Vec::new();
    let sides = [("validation", &data.val), ("sealed test", &data.test)];
    for (split, versus) in sides {
        if let Some(versus) = versus {
            rows.push((split, "baseline", &versus.baseline));
            if data.improved() {
                rows.push((split, "best", &versus.best));
            }
        }
    }
    let height = 34.0 + 30.0 * rows.len() as f64 + if rows.len() > 2 { 10.0 } else { 0.0 };
    let low = rows.iter().map(|row| row.2.low).fold(1.0, f64::min);
    let high = rows.iter().map(|row| row.2.high).fold(0.0, f64::max);
    let axis = ticks(low.min(high), high, 6);
    let x = Scale::new(
        (
            axis.first().copied().unwrap_or(0.0),
            axis.last().copied().unwrap_or(1.0),
        ),
        (150.0, WIDTH - 84.0),
    );
    let mut svg = Svg::new(WIDTH, height);
    for tick in &axis {
        let at = x.at(*tick);
        svg.line("grid", (at, 6.0), (at, height - 24.0));
        svg.text(
            "tick",
            (at, height - 8.0),
            "middle",
            &format!("{:.0} %", tick * 100.0),
        );
    }
    let mut top = 22.0;
    let mut before = "";
    for (split, who, score) in rows {
        if !before.is_empty() && before != split {
            top += 10.0;
        }
        if before != split {
            svg.text("row-split", (0.0, top + 4.0), "start", split);
        }
        let class = if who == "best" { "best" } else { "base" };
        svg.text("row-name", (138.0, top + 4.0), "end", who);
        svg.line(
            &format!("whisker {class}"),
            (x.at(score.low), top),
            (x.at(score.high), top),
        );
        svg.dot(
            &format!("mark-{class}"),
            (x.at(score.mean), top),
            6.0,
            &format!("{split}, {who}: {}", described(score)),
        );
        svg.text(
            "label",
            (WIDTH - 70.0, top + 4.0),
            "start",
            &format::percent(score.mean),
        );
        before = split;
        top += 30.0;
    }
    svg.finish("Baseline and best with intervals")
}

/// Points lost by pattern, for the baseline and for the best.
pub fn clusters(before: Option<&Attribution>, after: Option<&Attribution>) -> String {
    let rows = paired_clusters(before, after);
    let height = 30.0 + 40.0 * rows.len() as f64;
    let high = rows
        .iter()
        .flat_map(|(a, b)| [a, b].into_iter().flatten())
        .map(|cluster| cluster.recoverable.estimate)
        .fold(0.01, f64::max);
    let axis = ticks(0.0, high, 5);
    let x = Scale::new(
        (0.0, axis.last().copied().unwrap_or(1.0)),
        (290.0, WIDTH - 60.0),
    );
    let mut svg = Svg::new(WIDTH, height);
    for tick in &axis {
        let at = x.at(*tick);
        svg.line("grid", (at, 2.0), (at, height - 24.0));
        svg.text(
            "tick",
            (at, height - 8.0),
            "middle",
            &format!("{:.0}", tick * 100.0),
        );
    }
    for (position, (a, b)) in rows.iter().enumerate() {
        let top = 6.0 + 40.0 * position as f64;
        let Some(name) = a.or(*b) else { continue };
        svg.text(
            "row-name",
            (278.0, top + 12.0),
            "end",
            &format::one_line(&name.label, 38),
        );
        svg.text(
            "row-sub",
            (278.0, top + 26.0),
            "end",
            &format!("{} · {}", name.step, name.level),
        );
        for (offset, class, who, cluster) in [
            (2.0, "bar-base", "baseline", a),
            (15.0, "bar-best", "best", b),
        ] {
            let value = cluster.map_or(0.0, |cluster| cluster.recoverable.estimate);
            let count = cluster.map_or(0, |cluster| cluster.count);
            let width = x.at(value) - x.at(0.0);
            svg.rect(
                class,
                (x.at(0.0), top + offset),
                (width.max(1.0), 11.0),
                Some(&format!(
                    "{who}: {} points over {}",
                    format::points(value),
                    format::counted(count, "case")
                )),
            );
            svg.text(
                "bar-value",
                (x.at(0.0) + width + 5.0, top + offset + 9.0),
                "start",
                &if cluster.is_some() {
                    format!("{:.1}", value * 100.0)
                } else {
                    "0".to_owned()
                },
            );
        }
    }
    svg.finish("Points lost by failure pattern, baseline and best")
}

/// The patterns of both attributions, joined by id: those of the first by points, then what is new in the second. At
/// most twelve.
fn paired_clusters<'a>(
    before: Option<&'a Attribution>,
    after: Option<&'a Attribution>,
) -> Vec<(Option<&'a Cluster>, Option<&'a Cluster>)> {
    let first = before.map_or(&[][..], |attribution| &attribution.clusters);
    let second = after.map_or(&[][..], |attribution| &attribution.clusters);
    let mut rows: Vec<_> = first
        .iter()
        .map(|a| (Some(a), second.iter().find(|b| b.id == a.id)))
        .collect();
    rows.extend(
        second
            .iter()
            .filter(|b| !first.iter().any(|a| a.id == b.id))
            .map(|b| (None, Some(b))),
    );
    rows.truncate(12);
    rows
}
