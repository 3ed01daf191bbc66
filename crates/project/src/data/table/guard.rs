//! Damaged files: the library checks most of what a file says, and not all. On about one in a hundred files with a few bits
//! turned it panics, mostly where a length leads out of a page. Then the file is at fault, and is told as such.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use super::Damage;

thread_local! {
    /// Whether this thread is inside [`guarded`].
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a read. A panic in it becomes [`Damage`], and is not written to standard error: the problem is what a person is to
/// see. Panics anywhere else go where they went before.
///
/// What the read was at work on must not be used again after damage.
pub(super) fn guarded<T>(read: impl FnOnce() -> Result<T, Damage>) -> Result<T, Damage> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
    GUARDED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(false);
    outcome.unwrap_or_else(|_| Err(Damage::new("its bytes make no sense")))
}
