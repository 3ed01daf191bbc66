//! What lists of runs share between the back ends: which part of an output they show, and how a search reads it.

use std::collections::HashSet;

use fapo_domain::hash::ContentHash;
use fapo_domain::ports::traces::RunSummary;

use crate::error::Failure;
use crate::runs::{Bodies, note_blob};

/// Characters of an output in a list.
const SHOWN: usize = 200;
/// Runs read at once while outputs are searched.
pub(crate) const SEARCHED_AT_ONCE: u32 = 256;

/// A run of a list, its output still packed.
pub(crate) struct Listed {
    /// Without its output.
    pub(crate) summary: RunSummary,
    /// The cell of its output: the text where there is one, else the JSON.
    pub(crate) output: Option<Vec<u8>>,
}

/// The blobs that the outputs of `listed` stand in.
pub(crate) fn blobs_of(listed: &[Listed]) -> Result<HashSet<ContentHash>, Failure> {
    let mut hashes = HashSet::new();
    for run in listed {
        note_blob(run.output.as_deref(), &mut hashes)?;
    }
    Ok(hashes)
}

/// Text that is looked for, whatever its case of letters.
pub(crate) struct Needle(String);

impl Needle {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }
}

/// Puts the outputs in, cut short; leaves out runs whose output does not contain `needle`.
pub(crate) fn show(
    listed: Vec<Listed>,
    bodies: &Bodies,
    needle: Option<&Needle>,
) -> Result<Vec<RunSummary>, Failure> {
    let mut shown = Vec::with_capacity(listed.len());
    for Listed {
        mut summary,
        output,
    } in listed
    {
        let output = bodies.text(output.as_deref())?;
        if let Some(Needle(needle)) = needle
            && !output
                .as_ref()
                .is_some_and(|output| output.to_lowercase().contains(needle.as_str()))
        {
            continue;
        }
        summary.output = output.map(|output| start(output, SHOWN));
        shown.push(summary);
    }
    Ok(shown)
}

/// The first so many characters.
fn start(mut text: String, characters: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(characters) {
        text.truncate(end);
    }
    text
}
