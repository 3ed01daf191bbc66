//! Chaos over a real cluster, bounded and seeded; docs/chaos.md.
//!
//! `cargo run -p fapo-e2e --example chaos -- [--seed N] [--rounds N] [--max-minutes N] [--jobs N] [--fapo FILE]`, after
//! `cargo build -p fapo`. The exit code is 0 where everything held, 1 where something did not, and 2 where that cannot be told.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it tells what it does"
)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fapo_e2e::chaos::{ChaosOptions, ChaosOutcome, run};

fn main() -> ExitCode {
    match chaos() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything held.
fn chaos() -> Result<bool> {
    let options = options(std::env::args().skip(1))?;
    println!("seed {}, at most {} rounds", options.seed, options.rounds);
    let outcome = run(&options, |line| println!("{line}"))?;
    tell(&options, &outcome);
    Ok(outcome.violations.is_empty())
}

fn options(mut args: impl Iterator<Item = String>) -> Result<ChaosOptions> {
    let mut options = ChaosOptions {
        seed: 1,
        rounds: 100,
        at_most: Duration::from_secs(20 * 60),
        jobs: 4,
        binary: None,
    };
    while let Some(flag) = args.next() {
        let value = args
            .next()
            .with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--seed" => options.seed = value.parse()?,
            "--rounds" => options.rounds = value.parse()?,
            "--max-minutes" => options.at_most = Duration::from_secs(60 * value.parse::<u64>()?),
            "--jobs" => options.jobs = value.parse()?,
            "--fapo" => options.binary = Some(std::path::absolute(value)?),
            _ => bail!("{flag} is not known: --seed, --rounds, --max-minutes, --jobs, --fapo"),
        }
    }
    Ok(options)
}

fn tell(options: &ChaosOptions, outcome: &ChaosOutcome) {
    println!();
    for (kind, count) in &outcome.faults {
        println!("{count:5}  {kind}");
    }
    println!("{:5}  processes ended by themselves", outcome.ended);
    let (calls, repeated) = outcome.calls;
    println!("{:5}  jobs submitted", outcome.jobs);
    println!("{calls:5}  model calls, {repeated} of them repeated");
    println!(
        "seed {}: {} rounds in {:.0} s",
        options.seed,
        outcome.rounds,
        outcome.took.as_secs_f64()
    );
    if outcome.violations.is_empty() {
        println!("everything held");
    }
    for violation in &outcome.violations {
        println!("VIOLATION: {violation}");
    }
}
