//! Whether an amount fits under an account's caps.

use fapo_domain::ports::ledger::{Amount, LedgerError};
use fapo_domain::{MicroUsd, Spend};

use super::book::Account;

impl Account {
    /// Whether `amount` may be reserved now; the error says what is left, and whether waiting can help.
    pub(super) fn fits(&self, amount: Amount) -> Result<(), LedgerError> {
        let spent: Spend = self.spent.values().copied().sum();
        let gone = Amount {
            cost: spent.cost + self.lost.cost,
            model_calls: spent.model_calls.saturating_add(self.lost.model_calls),
        };
        let cost = self
            .caps
            .cost
            .map(|cap| Room::of(gone.cost.0, self.reserved.cost.0, amount.cost.0, cap.0));
        let calls = self.caps.model_calls.map(|cap| {
            Room::of(
                gone.model_calls,
                self.reserved.model_calls,
                amount.model_calls,
                cap,
            )
        });
        let rooms = [cost, calls];
        if rooms.iter().flatten().all(|room| room.fits) {
            return Ok(());
        }
        let what = if cost.is_some_and(|room| !room.fits) {
            format!(
                "{} of the cost cap {} is left and {} may be needed",
                MicroUsd(cost.map_or(0, |room| room.left)),
                self.caps.cost.unwrap_or_default(),
                amount.cost
            )
        } else {
            format!(
                "{} of the cap of {} model calls is left and {} may be needed",
                calls.map_or(0, |room| room.left),
                self.caps.model_calls.unwrap_or_default(),
                amount.model_calls
            )
        };
        Err(LedgerError::Exhausted {
            what,
            may_fit_later: rooms.iter().flatten().all(|room| room.could_fit),
        })
    }
}

/// One cap's verdict.
#[derive(Clone, Copy)]
struct Room {
    fits: bool,
    /// If everything reserved were settled at nothing.
    could_fit: bool,
    left: u64,
}

impl Room {
    fn of(gone: u64, reserved: u64, amount: u64, cap: u64) -> Self {
        let taken = gone.saturating_add(reserved);
        Self {
            fits: taken.saturating_add(amount) <= cap,
            could_fit: gone.saturating_add(amount) <= cap,
            left: cap.saturating_sub(taken),
        }
    }
}
