//! A model that says what a test tells it to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::{CacheEntry, CachedStep, FinishReason, StepOutput};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::models::{
    Meter, MeteredError, MeteredModels, MeteredReply, ModelError, ModelRequest,
};
use fapo_domain::{JobId, MicroUsd, Spend, Usage};
use tokio::sync::Notify;

pub(super) type Said = Result<(String, FinishReason), MeteredError>;

/// Says `text` and is done.
pub(super) fn say(text: impl Into<String>) -> Said {
    Ok((text.into(), FinishReason::Stop))
}

/// An endpoint that nobody answers at.
pub(super) fn unreachable() -> Said {
    Err(ModelError::Unavailable {
        provider: "nowhere.example:9".to_owned(),
        attempts: 5,
        message: "connection refused".to_owned(),
        unanswered: 0,
    }
    .into())
}

/// Scripted [`MeteredModels`]: looks up and stores in a step cache where it has one, as the real one does.
pub(super) struct Script {
    reply: Box<dyn Fn(&ModelRequest) -> Said + Send + Sync>,
    cache: Option<Arc<dyn StepCache>>,
    /// How long each call takes.
    delay: Duration,
    /// How long each call waits before.
    wait: Duration,
    /// How long the try takes that fails before.
    fails_after: Duration,
    /// Calls wait here until it is notified.
    hold: Option<Arc<Notify>>,
    /// The last message of each call that was not answered from the cache.
    asked: Mutex<Vec<String>>,
    requests: Mutex<Vec<ModelRequest>>,
    /// For each call, whether more were to follow; and how often what they left was given back, with the number of calls then.
    more: Mutex<Vec<bool>>,
    released: Mutex<Vec<usize>>,
    /// The claim that each call was booked under.
    payers: Mutex<Vec<Fence>>,
    looked_up: AtomicUsize,
    under_way: AtomicUsize,
    peak: AtomicUsize,
}

impl Script {
    pub(super) fn new(reply: impl Fn(&ModelRequest) -> Said + Send + Sync + 'static) -> Self {
        Self {
            reply: Box::new(reply),
            cache: None,
            delay: Duration::ZERO,
            wait: Duration::ZERO,
            fails_after: Duration::ZERO,
            hold: None,
            asked: Mutex::default(),
            requests: Mutex::default(),
            more: Mutex::default(),
            released: Mutex::default(),
            payers: Mutex::default(),
            looked_up: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    /// Repeats the last message.
    pub(super) fn echo() -> Self {
        Self::new(|request| say(last(request)))
    }

    /// Answers by the first pair whose first part is in the last message.
    pub(super) fn table(pairs: &[(&str, &str)]) -> Self {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(part, reply)| ((*part).to_owned(), (*reply).to_owned()))
            .collect();
        Self::new(move |request| {
            let message = last(request);
            let found = pairs.iter().find(|(part, _)| message.contains(part));
            say(found.map_or("?", |(_, reply)| reply))
        })
    }

    pub(super) fn with_cache(mut self, cache: Arc<dyn StepCache>) -> Self {
        self.cache = Some(cache);
        self
    }

    pub(super) fn slow(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Each call waits in a queue, and then has a try that fails.
    pub(super) fn crowded(mut self, wait: Duration, fails_after: Duration) -> Self {
        (self.wait, self.fails_after) = (wait, fails_after);
        self
    }

    pub(super) fn held(mut self, hold: Arc<Notify>) -> Self {
        self.hold = Some(hold);
        self
    }

    /// What was asked since the last time, in order.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    pub(super) fn asked_so_far(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(super) fn requests(&self) -> Vec<ModelRequest> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    /// What the calls said of further ones, and after how many calls what they left was given back.
    pub(super) fn kept(&self) -> (Vec<bool>, Vec<usize>) {
        (
            self.more.lock().unwrap().clone(),
            self.released.lock().unwrap().clone(),
        )
    }

    /// The claims that calls were booked under, in order.
    pub(super) fn payers(&self) -> Vec<Fence> {
        self.payers.lock().unwrap().clone()
    }

    pub(super) fn look_ups(&self) -> usize {
        self.looked_up.swap(0, Ordering::SeqCst)
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// The most calls that were under way at once.
    pub(super) fn peak(&self) -> usize {
        self.peak.load(Ordering::SeqCst)
    }
}

/// The content of a request's last message.
pub(super) fn last(request: &ModelRequest) -> String {
    request
        .messages
        .last()
        .map_or_else(String::new, |message| message.content.clone())
}

#[async_trait]
impl MeteredModels for Script {
    async fn complete(
        &self,
        request: &ModelRequest,
        meter: &Meter,
    ) -> Result<MeteredReply, MeteredError> {
        if let Some(cache) = &self.cache
            && meter.look_up
        {
            self.looked_up.fetch_add(1, Ordering::SeqCst);
            if let Some(step) = cache.get_step(meter.key, meter.fingerprint).await? {
                return Ok(MeteredReply {
                    text: step.output.text,
                    finish: step.finish.unwrap(),
                    spend: Spend::default(),
                    full_spend: step.spend,
                    full_duration_ms: step.duration_ms,
                    cache_hit: true,
                    attempts: 0,
                });
            }
        }
        self.more.lock().unwrap().push(meter.more);
        self.payers.lock().unwrap().push(meter.fence);
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(now, Ordering::SeqCst);
        self.asked.lock().unwrap().push(last(request));
        self.requests.lock().unwrap().push(request.clone());
        let _leave = Leave(&self.under_way);
        if let Some(hold) = &self.hold {
            hold.notified().await;
        }
        if !self.wait.is_zero() {
            request.waits.during(tokio::time::sleep(self.wait)).await;
            tokio::time::sleep(self.fails_after).await;
            request.waits.forgive(self.fails_after);
        }
        let began = tokio::time::Instant::now();
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let (text, finish) = (self.reply)(request)?;
        let words = |text: &str| text.split_whitespace().count() as u64;
        let usage = Usage {
            input_tokens: request
                .messages
                .iter()
                .map(|message| words(&message.content))
                .sum(),
            output_tokens: words(&text),
            ..Usage::default()
        };
        let spend = Spend {
            cost: MicroUsd(usage.input_tokens + usage.output_tokens),
            model_calls: 1,
            usage,
        };
        let duration_ms = crate::run::millis(began.elapsed());
        if let Some(cache) = &self.cache {
            let entry = CacheEntry {
                key: meter.key,
                fingerprint: meter.fingerprint,
                step: CachedStep {
                    output: StepOutput {
                        text: text.clone(),
                        ..StepOutput::default()
                    },
                    finish: Some(finish),
                    spend,
                    duration_ms,
                },
            };
            cache.put_step(entry, None).await?;
        }
        Ok(MeteredReply {
            text,
            finish,
            spend,
            full_spend: spend,
            full_duration_ms: duration_ms,
            cache_hit: false,
            attempts: 1,
        })
    }

    async fn release(&self, _: JobId, _: Fence) -> Result<(), StoreError> {
        let calls = self.more.lock().unwrap().len();
        self.released.lock().unwrap().push(calls);
        Ok(())
    }
}

struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A step cache in memory, for tests that are about keys only.
#[derive(Default)]
pub(super) struct MemoryCache(Mutex<HashMap<fapo_domain::StepKey, CacheEntry>>);

#[async_trait]
impl StepCache for MemoryCache {
    async fn get_step(
        &self,
        key: fapo_domain::StepKey,
        _: fapo_domain::StepFingerprint,
    ) -> Result<Option<CachedStep>, fapo_domain::ports::StoreError> {
        Ok(self
            .0
            .lock()
            .unwrap()
            .get(&key)
            .map(|entry| entry.step.clone()))
    }

    async fn put_step(
        &self,
        entry: CacheEntry,
        _: Option<fapo_domain::ports::ledger::Charge>,
    ) -> Result<fapo_domain::ports::ledger::Room, fapo_domain::ports::StoreError> {
        self.0.lock().unwrap().entry(entry.key).or_insert(entry);
        Ok(fapo_domain::ports::ledger::Room::Released)
    }

    async fn has_any(
        &self,
        fingerprint: fapo_domain::StepFingerprint,
    ) -> Result<bool, fapo_domain::ports::StoreError> {
        let entries = self.0.lock().unwrap();
        Ok(entries
            .values()
            .any(|entry| entry.fingerprint == fingerprint))
    }
}
