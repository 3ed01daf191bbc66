//! Fixed names that came over the wire. Ports name kinds, operations and reasons by `&'static str`; the other side is the same
//! program, so there are few of them, and each is kept once, for good.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// No server has so many; one that sends more is not believed.
const MOST: usize = 512;
const LONGEST: usize = 64;

static NAMES: Names = Names(Mutex::new(BTreeSet::new()));

/// Names that are kept.
struct Names(Mutex<BTreeSet<&'static str>>);

/// The name, for good; `unnamed` where it is empty, is too long, or there are too many already.
pub(crate) fn name(text: &str) -> &'static str {
    NAMES.keep(text)
}

impl Names {
    fn keep(&self, text: &str) -> &'static str {
        if text.is_empty() || text.len() > LONGEST {
            return "unnamed";
        }
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.get(text) {
            return known;
        }
        if names.len() >= MOST {
            return "unnamed";
        }
        let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
        names.insert(kept);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_a_flood_of_them_is_not() {
        let names = Names(Mutex::default());
        assert!(std::ptr::eq(names.keep("job"), names.keep("job")));
        assert_eq!(names.keep(&"x".repeat(65)), "unnamed");
        for number in 0..2 * MOST {
            let _ = names.keep(&format!("made up {number}"));
        }
        assert_eq!(names.keep("one more"), "unnamed");
        assert_eq!(names.keep("job"), "job");
    }
}
