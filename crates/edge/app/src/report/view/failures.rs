//! What failed, and what could be won by mending it.

use fapo_domain::model::finding::{Attribution, CaseReading, Cluster};
use fapo_domain::model::level::Level;

use super::{CeilingRow, ClusterRow};
use crate::output::format;
use crate::report::data::ReportData;

pub fn clusters(before: Option<&Attribution>, after: Option<&Attribution>) -> Vec<ClusterRow> {
    let first = before.map_or(&[][..], |attribution| &attribution.clusters);
    let second = after.map_or(&[][..], |attribution| &attribution.clusters);
    let find = |list: &[Cluster], id: &str| {
        list.iter()
            .find(|cluster| cluster.id == id)
            .map_or_else(|| "0".to_owned(), |cluster| cluster.count.to_string())
    };
    first
        .iter()
        .chain(
            second
                .iter()
                .filter(|b| !first.iter().any(|a| a.id == b.id)),
        )
        .map(|cluster| ClusterRow {
            label: cluster.label.clone(),
            step: cluster.step.to_string(),
            rule: cluster.rule.name(),
            level: cluster.level.as_str(),
            before: find(first, &cluster.id),
            after: find(second, &cluster.id),
            count: cluster.count,
            points: format!("{:.1}", cluster.recoverable.estimate * 100.0),
            interval: format!(
                "{:.1} to {:.1}",
                cluster.recoverable.low * 100.0,
                cluster.recoverable.high * 100.0
            ),
            direction: cluster.direction.clone(),
            cases: cluster
                .cases
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
            readings: cluster.readings.iter().map(read).collect(),
        })
        .collect()
}

/// One reading in a line: kind, step, case, explanation, and the words that prove it.
fn read(read: &CaseReading) -> String {
    let reading = &read.reading;
    format!(
        "{} at {} ({}): {} “{}”",
        reading.kind.as_str(),
        reading.step,
        read.case,
        reading.explanation,
        reading.quote
    )
}

/// How the reading of the last attribution's unclear failures went, in a sentence.
pub fn reader(data: &ReportData) -> Option<String> {
    let attribution = data.after.as_ref().or(data.before.as_ref())?;
    let reader = attribution.reader.as_ref()?;
    let mut words = format!(
        "The rules left {} unclear; a model read {} of them and proved {} readings with words of the trace.",
        format::counted(reader.unclear, "failure"),
        reader.asked,
        reader.kept
    );
    if reader.discarded + reader.unusable > 0 {
        words.push_str(&format!(
            " {} were thrown away: {} quoted what is not there, {} could not be read.",
            reader.discarded + reader.unusable,
            reader.discarded,
            reader.unusable
        ));
    }
    if let Some(session) = &reader.session {
        words.push_str(&format!(" It read in session {}.", session.short()));
    }
    if let Some(note) = &reader.note {
        words.push_str(&format!(" The rest was left unread: {note}."));
    }
    Some(words)
}

pub fn ceilings(data: &ReportData) -> Vec<CeilingRow> {
    let value = |attribution: Option<&Attribution>, level: Level| {
        attribution.map_or_else(
            || "–".to_owned(),
            |attribution| {
                attribution.ceilings.get(&level).map_or_else(
                    || "0.0".to_owned(),
                    |points| {
                        format!(
                            "{:.1} ({:.1} to {:.1})",
                            points.estimate * 100.0,
                            points.low * 100.0,
                            points.high * 100.0
                        )
                    },
                )
            },
        )
    };
    if data.before.is_none() && data.after.is_none() {
        return Vec::new();
    }
    Level::ALL
        .into_iter()
        .map(|level| CeilingRow {
            level: level.as_str(),
            before: value(data.before.as_ref(), level),
            after: value(data.after.as_ref(), level),
        })
        .collect()
}
