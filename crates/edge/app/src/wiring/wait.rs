//! Waiting, for a bounded time, for a server that a process cannot do without.

use std::time::Duration;

use anyhow::Context as _;
use fapo_domain::error::chain;
use fapo_domain::{Classified, Retry};
use tokio::time::Instant;

/// The wait after a first try; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(5);

/// Tries until it succeeds, `bound` is over, or trying again cannot help. `what` is the server, as a person knows it; that it is
/// waited for is logged once.
///
/// # Errors
/// The last try's.
pub async fn until_up<T, E, F>(
    what: &str,
    bound: Duration,
    mut attempt: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, E>>,
    E: Classified + std::error::Error + Send + Sync + 'static,
{
    let deadline = Instant::now() + bound;
    let (mut wait, mut tries) = (FIRST, 0_u32);
    loop {
        let error = match attempt().await {
            Ok(up) => {
                if tries > 0 {
                    tracing::info!(server = what, "it answers now");
                }
                return Ok(up);
            }
            Err(error) => error,
        };
        tries += 1;
        let over = Instant::now() + wait > deadline;
        if over || error.retry() == Retry::Never {
            return Err(error).with_context(|| {
                if over {
                    format!("{what} did not answer within {} s", bound.as_secs())
                } else {
                    format!("{what} cannot be used")
                }
            });
        }
        if tries == 1 {
            let seconds = bound.as_secs();
            tracing::warn!(server = what, error = %chain(&error), "waiting for it, up to {seconds} s");
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::ports::StoreError;

    use super::*;

    fn away() -> StoreError {
        StoreError::Unavailable {
            operation: "connect",
            source: "refused".into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_comes_up_late_is_waited_for() {
        let mut tries = 0;
        let up = until_up("the store", Duration::from_secs(60), || {
            tries += 1;
            let answer = if tries < 5 { Err(away()) } else { Ok(tries) };
            async move { answer }
        });
        assert_eq!(up.await.unwrap(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_bounded_and_useless_where_trying_cannot_help() {
        let begun = Instant::now();
        let gone = until_up::<(), _, _>("the store", Duration::from_secs(10), || async {
            Err(away())
        });
        let said = gone.await.unwrap_err().to_string();
        assert_eq!(said, "the store did not answer within 10 s");
        assert!(begun.elapsed() <= Duration::from_secs(10));

        let begun = Instant::now();
        let wrong = until_up::<(), _, _>("the store", Duration::from_secs(10), || async {
            Err(StoreError::Invalid {
                message: "no such database".to_owned(),
            })
        });
        assert_eq!(
            wrong.await.unwrap_err().to_string(),
            "the store cannot be used"
        );
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
