//! Chaos: a cluster that works while everything it stands on is killed, restarted, emptied and cut off, and what must hold at the
//! end all the same. docs/chaos.md says what is done and why.
//!
//! What is done follows from the seed alone; when it hits is a matter of the machine.

mod faults;
mod invariants;
mod jobs;
mod scene;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Result;

use self::faults::{Fault, FaultKind};
use self::scene::Scene;

/// How long the jobs may take to end once nothing is done to them any more.
const CALM: Duration = Duration::from_secs(300);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct ChaosOptions {
    /// What the faults, their order and their targets follow from.
    pub seed: u64,
    /// Rounds at most.
    pub rounds: u32,
    /// No round begins later than this after the first.
    pub at_most: Duration,
    /// Jobs that are kept under way.
    pub jobs: usize,
    /// The binary of the cluster's processes, where it is not the one of this build.
    pub binary: Option<PathBuf>,
}

/// What was done, and what it did.
#[derive(Debug, Clone, Default)]
pub struct ChaosOutcome {
    /// Rounds that were run.
    pub rounds: u32,
    /// How often each kind of fault was done.
    pub faults: BTreeMap<FaultKind, u32>,
    /// Processes that ended by themselves, and were started again as an engine would.
    pub ended: u32,
    /// Jobs that were submitted.
    pub jobs: usize,
    /// Calls that the simulated models were asked for, and those among them that they had answered before.
    pub calls: (u64, u64),
    /// From the first round to the end of the last job.
    pub took: Duration,
    /// What does not hold. Empty where all is well.
    pub violations: Vec<String>,
}

/// Runs it. `say` is told each round.
///
/// # Errors
/// When the cluster cannot be set up, or a tool fails. What the system under test does wrong is a violation instead.
pub fn run(options: &ChaosOptions, mut say: impl FnMut(&str)) -> Result<ChaosOutcome> {
    let mut outcome = ChaosOutcome::default();
    let mut dice = Dice::new(options.seed);
    let mut scene = Scene::start(options)?;
    let begun = Instant::now();
    // without rounds, too: an undisturbed cluster is held against the same
    scene.keep_busy(options.jobs)?;
    while outcome.rounds < options.rounds && begun.elapsed() < options.at_most {
        scene.keep_busy(options.jobs)?;
        outcome.rounds += 1;
        let mut faults = vec![Fault::draw(&mut dice, &scene.names())];
        if dice.below(3) == 0 {
            faults.push(Fault::draw(&mut dice, &scene.names()));
        }
        let words: Vec<String> = faults.iter().map(ToString::to_string).collect();
        say(&format!(
            "round {:3}  {:5.1} s  {}",
            outcome.rounds,
            begun.elapsed().as_secs_f64(),
            words.join(" + ")
        ));
        for fault in &faults {
            *outcome.faults.entry(fault.kind()).or_default() += 1;
            scene.begin(fault)?;
        }
        let lasts = faults.iter().map(Fault::lasts).max();
        pause(lasts.unwrap_or_default());
        for fault in &faults {
            scene.end(fault)?;
        }
        outcome.ended += scene.revive(&mut say)?;
        pause(Duration::from_millis(200 + dice.below(800)));
    }
    let calm = Instant::now();
    loop {
        outcome.ended += scene.revive(&mut say)?;
        if scene.all_ended()? {
            break;
        }
        if calm.elapsed() > CALM {
            outcome.violations.push(format!(
                "jobs are not final after {} s of calm",
                CALM.as_secs()
            ));
            break;
        }
        pause(Duration::from_millis(300));
    }
    outcome.took = begun.elapsed();
    outcome.jobs = scene.jobs();
    let (calls, violations) = scene.check()?;
    outcome.calls = calls;
    outcome.violations.extend(violations);
    Ok(outcome)
}

/// Lets time pass: a fault lasts, and between two of them work goes on.
fn pause(duration: Duration) {
    let (_sender, nobody) = channel::<()>();
    // nobody sends, so the time runs out
    let ended = nobody.recv_timeout(duration);
    debug_assert_eq!(ended, Err(RecvTimeoutError::Timeout));
}

/// Numbers that follow from a seed: SplitMix64 (Steele, Lea & Flood 2014).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One below `bound`, each as likely as the others (the bias of a remainder is far below what shows here).
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let index = self.below(from.len() as u64);
        from.get(usize::try_from(index).ok()?)
    }
}
