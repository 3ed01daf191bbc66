//! Differences of files in lines: how many, and as a patch.

use std::fmt::Write;

use fapo_domain::model::variant::VariantTree;
use similar::{Algorithm, ChangeTag, DiffTag, TextDiff, capture_diff_slices};

use super::files;

/// Lines added and removed. Lines end at `\n` alone, as in git.
pub(super) fn count(old: &[u8], new: &[u8]) -> (u32, u32) {
    let (old, new) = (split(old), split(new));
    let mut sum = (0u32, 0u32);
    for op in capture_diff_slices(Algorithm::Myers, &old, &new) {
        let (removed, added) = match op.tag() {
            DiffTag::Equal => (0, 0),
            DiffTag::Delete | DiffTag::Insert | DiffTag::Replace => {
                (op.old_range().len(), op.new_range().len())
            }
        };
        sum.0 = sum
            .0
            .saturating_add(u32::try_from(added).unwrap_or(u32::MAX));
        sum.1 = sum
            .1
            .saturating_add(u32::try_from(removed).unwrap_or(u32::MAX));
    }
    sum
}

fn split(content: &[u8]) -> Vec<&[u8]> {
    content.split_inclusive(|byte| *byte == b'\n').collect()
}

/// The difference as a patch of the project folder: `git apply` makes the child from the parent. Empty where the trees are
/// equal. A file that is not UTF-8 cannot be in a patch of text; its entry says so, and does not apply.
pub fn unified_diff(parent: &VariantTree, child: &VariantTree) -> String {
    let mut out = String::new();
    for (path, old, new) in files(parent, child) {
        // writing to a String cannot fail
        let _ = file(&mut out, path, old, new);
    }
    out
}

fn file(out: &mut String, path: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> std::fmt::Result {
    let from = quoted(&format!("a/pipeline/{path}"));
    let to = quoted(&format!("b/pipeline/{path}"));
    writeln!(out, "diff --git {from} {to}")?;
    match (old, new) {
        (None, _) => writeln!(out, "new file mode 100644")?,
        (_, None) => writeln!(out, "deleted file mode 100644")?,
        (Some(_), Some(_)) => {}
    }
    let text = |content: Option<&[u8]>| {
        let text = std::str::from_utf8(content.unwrap_or_default()).ok()?;
        (!text.contains('\0')).then(|| text.to_owned())
    };
    let (Some(before), Some(after)) = (text(old), text(new)) else {
        return writeln!(out, "Binary files {from} and {to} differ");
    };
    if before == after {
        // an empty file that comes or goes has no lines to show
        return Ok(());
    }
    let name = |name: &str, content: Option<&[u8]>| match content {
        None => "/dev/null".to_owned(),
        // a name with a space ends at a tab
        Some(_) if name.contains(' ') => format!("{name}\t"),
        Some(_) => name.to_owned(),
    };
    writeln!(out, "--- {}", name(&from, old))?;
    writeln!(out, "+++ {}", name(&to, new))?;
    let before: Vec<&str> = before.split_inclusive('\n').collect();
    let after: Vec<&str> = after.split_inclusive('\n').collect();
    let diff = TextDiff::from_slices(&before, &after);
    for group in diff.grouped_ops(3) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let old = range(first.old_range().start, last.old_range().end);
        let new = range(first.new_range().start, last.new_range().end);
        writeln!(out, "@@ -{old} +{new} @@")?;
        for op in &group {
            for change in diff.iter_changes(op) {
                let sign = match change.tag() {
                    ChangeTag::Equal => ' ',
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                };
                let line = change.value();
                write!(out, "{sign}{line}")?;
                if !line.ends_with('\n') {
                    out.push_str("\n\\ No newline at end of file\n");
                }
            }
        }
    }
    Ok(())
}

/// Lines from `start` (counted from 0) to before `end`, as a hunk's head has it.
fn range(start: usize, end: usize) -> String {
    match end - start {
        // of nothing, the line before it is named
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        length => format!("{},{length}", start + 1),
    }
}

/// A path as git writes it: in quotes where it holds what would be taken for the patch's own.
fn quoted(path: &str) -> String {
    if !path
        .chars()
        .any(|c| c.is_control() || matches!(c, '"' | '\\'))
    {
        return path.to_owned();
    }
    let mut out = String::from("\"");
    for byte in path.bytes() {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            0x20..0x7f => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
    out.push('"');
    out
}
