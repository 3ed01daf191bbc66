//! One session's money: what it may still spend, what it has under way, what it spent.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fapo_domain::model::project::ModelSpec;
use fapo_domain::money::{MicroUsd, Price, Spend};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::ledger::{Amount, Charge, Ledger, LedgerError, ReservationId};
use fapo_domain::ports::relay::{RelayGrant, RelayUse};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

use super::RelayConfig;
use super::answer::Refusal;
use crate::endpoint::Endpoint;
use crate::observe::{self, Called};
use crate::price::PriceTable;
use crate::wire::one_line;

const LONGEST_POLL: Duration = Duration::from_secs(2);
/// Request bodies that are in memory at once, unpacked.
const READERS: usize = 4;
/// Requests that count tokens at once.
const COUNTING: usize = 2;
/// Refusals that are kept.
const MOST_REFUSED: usize = 20;

/// A session at its relay.
pub(super) struct Session {
    grant: RelayGrant,
    pub(super) endpoint: Endpoint,
    prices: Arc<PriceTable>,
    ledger: Arc<dyn Ledger>,
    pub(super) config: RelayConfig,
    /// Whether money is bounded.
    pub(super) capped: bool,
    opened: Instant,
    account: Mutex<Account>,
    settled: Arc<Notify>,
    /// No request is begun any more.
    pub(super) closing: CancellationToken,
    /// Requests under way are cut off.
    pub(super) cutting: CancellationToken,
    /// Everything that has something to settle.
    tasks: TaskTracker,
    /// Requests that are read and checked at once: each takes its memory.
    pub(super) readers: Semaphore,
    /// Bytes of bodies that may still be taken in.
    memory: Arc<Semaphore>,
    /// Requests that count tokens.
    counting: Arc<Semaphore>,
    /// The work that the session is part of: its requests come over a socket, and would belong to no trace.
    work: Span,
}

#[derive(Default)]
struct Account {
    used: RelayUse,
    /// Requests so far that count tokens.
    counts: u32,
    /// Worst cases of what is under way.
    held: MicroUsd,
    /// The first failure of the ledger.
    failure: Option<StoreError>,
    /// Nothing is begun any more.
    closed: bool,
}

/// How a request that was passed on ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    /// It cost this.
    Paid(Spend),
    /// It may have cost anything up to its worst case.
    Lost,
    /// It cost nothing.
    Free,
}

/// What a request holds from its reading until it is settled.
pub(super) struct Held {
    memory: OwnedSemaphorePermit,
    /// Where it counts tokens.
    _counting: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Gives back what was taken beyond `bytes`.
    pub(super) fn keep(&mut self, bytes: usize) {
        let beyond = self.memory.num_permits().saturating_sub(bytes);
        drop(self.memory.split(beyond));
    }
}

/// A request that the provider did not answer yet.
pub(super) struct Waiting<'a>(&'a Session);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.account().used.waiting -= 1;
    }
}

impl Session {
    pub(super) fn new(
        grant: RelayGrant,
        endpoint: Endpoint,
        prices: Arc<PriceTable>,
        ledger: Arc<dyn Ledger>,
        config: RelayConfig,
        capped: bool,
        settled: Arc<Notify>,
    ) -> Self {
        Self {
            grant,
            endpoint,
            prices,
            ledger,
            config,
            capped,
            opened: Instant::now(),
            account: Mutex::default(),
            settled,
            closing: CancellationToken::new(),
            cutting: CancellationToken::new(),
            tasks: TaskTracker::new(),
            readers: Semaphore::new(READERS),
            memory: Arc::new(Semaphore::new(config.memory_bytes)),
            counting: Arc::new(Semaphore::new(COUNTING)),
            work: Span::current(),
        }
    }

    /// The span of one paid request.
    pub(super) fn span(&self) -> Span {
        self.work.in_scope(|| self.called().span(1))
    }

    fn called(&self) -> Called<'_> {
        Called {
            provider: self.grant.model.provider,
            model: &self.grant.model.model,
            entry: &self.grant.entry,
            host: &self.endpoint.host,
        }
    }

    /// Notes how a paid request ended.
    pub(super) fn ended(&self, span: &Span, end: End) {
        let called = self.called();
        match end {
            End::Paid(spend) => {
                called.counted("ok");
                called.used(&spend.usage);
                observe::spent(span, &spend);
            }
            End::Lost => called.broke(span, "cut_off"),
            End::Free => called.broke(span, "unavailable"),
        }
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account
            .lock()
            .expect("nothing panics while a session's account is held")
    }

    pub(super) fn model(&self) -> &str {
        &self.grant.model.model
    }

    /// The price of a model of this provider.
    pub(super) fn price(&self, model: &str) -> Option<Price> {
        let spec = &self.grant.model;
        if model == spec.model {
            return self.prices.price(spec);
        }
        self.prices.price(&ModelSpec {
            model: model.to_owned(),
            price: None,
            ..spec.clone()
        })
    }

    pub(super) fn used(&self) -> RelayUse {
        self.account().used.clone()
    }

    /// Waits until there is room for a body of at most `bytes`, and, where the request is free, until few others like it are under
    /// way. After too many of those there are no more.
    pub(super) async fn admit(&self, paid: bool, bytes: usize) -> Result<Held, Refusal> {
        let counting = if paid {
            None
        } else {
            self.count()?;
            let permit = Arc::clone(&self.counting).acquire_owned().await;
            Some(permit.map_err(|_| closed())?)
        };
        // a body is never larger than all the room that there is, and may always come alone
        let bytes = bytes.min(self.config.memory_bytes);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.memory).acquire_many_owned(bytes).await;
        Ok(Held {
            memory: memory.map_err(|_| closed())?,
            _counting: counting,
        })
    }

    fn count(&self) -> Result<(), Refusal> {
        let most = self.config.counts;
        let mut account = self.account();
        if account.counts >= most {
            return Err(Refusal::TooMany(format!(
                "this session may count tokens {most} times"
            )));
        }
        account.counts += 1;
        Ok(())
    }

    /// Notes that a request for a message came.
    pub(super) fn arrived(&self) {
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.account().used.first_request_ms.get_or_insert(since);
    }

    pub(super) fn refused(&self, refusal: &Refusal) {
        let mut account = self.account();
        if account.used.refused.len() < MOST_REFUSED {
            let message = one_line(&self.endpoint.scrub(refusal.message()));
            account.used.refused.push(message);
        }
    }

    /// Notes how the provider failed a paid request.
    pub(super) fn failed(&self, message: &str) {
        let message = one_line(&self.endpoint.scrub(message));
        self.account().used.failure = Some(message);
    }

    /// Counts a paid request as unanswered until what this returns is dropped.
    pub(super) fn waits(&self) -> Waiting<'_> {
        self.account().used.waiting += 1;
        Waiting(self)
    }

    /// Reserves a request's worst case, under the session's caps and the job's. Waits while other requests may make room,
    /// `gone` says that nobody wants it any more.
    pub(super) async fn reserve(
        &self,
        worst: MicroUsd,
        gone: impl Future<Output = ()>,
    ) -> Result<(), Refusal> {
        let mut gone = std::pin::pin!(gone);
        let deadline = Instant::now() + self.config.budget_wait;
        let mut poll = self.config.budget_poll;
        loop {
            // before asking, so that no room is made unseen
            let room = self.settled.notified();
            let (what, may_fit_later) = match self.try_reserve(worst).await? {
                Ok(()) => return Ok(()),
                Err(full) => full,
            };
            if !may_fit_later || Instant::now() >= deadline {
                self.account().used.out_of_money = true;
                return Err(Refusal::Money(what));
            }
            tokio::select! {
                () = &mut gone => return Err(Refusal::Unavailable("the client went away".to_owned())),
                () = self.closing.cancelled() => return Err(closed()),
                () = room => {}
                () = tokio::time::sleep_until(deadline.min(Instant::now() + poll)) => {
                    poll = (poll * 2).min(LONGEST_POLL);
                }
            }
        }
    }

    /// Inside: what there is no room in, and whether there may be later.
    async fn try_reserve(&self, worst: MicroUsd) -> Result<Result<(), (String, bool)>, Refusal> {
        if let Err(full) = self.hold(worst) {
            return Ok(Err(full));
        }
        let amount = amount(worst);
        let id = ReservationId::from(self.grant.fence);
        let reserved = self.ledger.reserve(self.grant.job, id, amount).await;
        let error = match reserved {
            Ok(()) => return Ok(Ok(())),
            Err(error) => error,
        };
        let mut account = self.account();
        account.held = account.held.saturating_sub(worst);
        account.used.requests -= 1;
        match error {
            LedgerError::Exhausted {
                what,
                may_fit_later,
            } => Ok(Err((
                format!("the job's budget does not allow it: {what}"),
                may_fit_later,
            ))),
            LedgerError::Store(error) => {
                let refusal = Refusal::Unavailable("the money cannot be counted now".to_owned());
                account.failure.get_or_insert(error);
                Err(refusal)
            }
        }
    }

    /// Counts a request under the session's own caps.
    fn hold(&self, worst: MicroUsd) -> Result<(), (String, bool)> {
        let mut account = self.account();
        if let Some(most) = self.grant.requests
            && account.used.requests >= most
        {
            return Err((format!("this session may make {most} requests"), false));
        }
        if let Some(cap) = self.grant.cost {
            let gone = account.used.spend.cost + account.used.lost;
            if gone + account.held + worst > cap {
                let what = format!(
                    "this session may spend {cap}, has spent {gone}, and the request may cost {worst}"
                );
                return Err((what, account.held > MicroUsd::ZERO && gone + worst <= cap));
            }
        }
        account.held += worst;
        account.used.requests += 1;
        Ok(())
    }

    /// Settles a request whose worst case was reserved.
    pub(super) async fn settle(&self, worst: MicroUsd, end: End) {
        let spent = match end {
            End::Paid(spend) => spend,
            End::Lost | End::Free => Spend::default(),
        };
        let lost = if end == End::Lost {
            amount(worst)
        } else {
            Amount::default()
        };
        let charge = Charge {
            job: self.grant.job,
            reservation: self.grant.fence.into(),
            role: self.grant.role,
            release: amount(worst),
            spent,
            lost,
            keep: false,
        };
        let settled = self.ledger.settle(charge).await;
        if settled.is_ok() {
            observe::booked(self.grant.role, &self.grant.model.model, &spent);
        }
        {
            let mut account = self.account();
            account.held = account.held.saturating_sub(worst);
            match settled {
                Ok(_) => {
                    if matches!(end, End::Paid(_)) {
                        account.used.failure = None;
                    }
                    account.used.spend += spent;
                    account.used.lost += lost.cost;
                }
                // It stays reserved, and counts as lost when the claim ends.
                Err(error) => {
                    account.used.lost += worst;
                    account.failure.get_or_insert(error);
                }
            }
        }
        self.settled.notify_waiters();
    }

    /// Runs a request by itself; it has something to settle, whatever becomes of its client. `false` where the session is over.
    pub(super) fn begin(&self, request: impl Future<Output = ()> + Send + 'static) -> bool {
        // under the lock, so that whoever closes it knows of every request
        let account = self.account();
        if !account.closed {
            self.tasks.spawn(request);
        }
        !account.closed
    }

    fn close(&self) {
        self.account().closed = true;
        self.closing.cancel();
        self.tasks.close();
    }

    /// Begins nothing any more, and cuts off what is under way. What is cut off settles itself.
    pub(super) fn cut(&self) {
        self.close();
        self.cutting.cancel();
    }

    /// Begins nothing any more, waits a while for what is under way and for `served`, cuts off the rest, and waits until all of it
    /// is settled.
    pub(super) async fn end(&self, served: impl Future<Output = ()>) -> Result<(), StoreError> {
        self.close();
        let ended = async {
            self.tasks.wait().await;
            served.await;
        };
        if tokio::time::timeout(self.config.close_wait, ended)
            .await
            .is_err()
        {
            self.cut();
            self.tasks.wait().await;
        }
        match self.account().failure.take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

const fn amount(cost: MicroUsd) -> Amount {
    Amount {
        cost,
        model_calls: 1,
    }
}

pub(super) fn closed() -> Refusal {
    Refusal::Unavailable("this session is over".to_owned())
}
