//! The one binary: commands, configuration, wiring.
//!
//! [`main`] does, in this order: become the program inside a sandbox where it is called as that, else read the environment once, read the command line, set up logging, run the command, turn
//! its end into an exit code. Only this crate knows all others; which implementation stands behind which port is decided
//! in `wiring.rs` alone.

pub mod cli;
pub mod config;
pub mod exit;
pub mod intake;
pub mod lifecycle;
pub mod output;
pub mod ports;
pub mod progress;
pub mod project;
pub mod remote;
pub mod report;
pub mod reports;
pub mod roles;
pub mod server;
pub mod wiring;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::args::{Cli, Command};
use crate::config::{Config, Env};
use crate::exit::Exit;
use crate::output::Output;

/// Runs the program with the given command line, whose first part is the program's name.
pub fn main<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    // inside a sandbox the program is small: no environment to read, no logging, no threads
    if args
        .get(1)
        .is_some_and(|verb| verb == wiring::sandbox::INIT)
    {
        return fapo_sandbox::init::main(args.into_iter().skip(2));
    }
    let env = Env::from_process();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error, &args, &env).into(),
    };
    let global = &cli.global;
    let config = Config::new(
        env.clone(),
        global.json,
        global.verbose,
        global.quiet,
        global.abort_after_commits,
    );
    let output = Output::new(config.json, config.quiet, &env);
    // a server's logs are as its configuration says
    let server = match &cli.command {
        Command::Serve(args) => match cli::serve::configure(args, &config, &output) {
            Ok(options) => Some(options),
            Err(exit) => return exit.into(),
        },
        _ => None,
    };
    let telemetry = match &server {
        Some(server) => fapo_telemetry::start(&cli::serve::telemetry(server, &config)),
        None => fapo_telemetry::init(&config.log_filter, log_format(&output)),
    };
    let telemetry = match telemetry {
        Ok(guard) => guard,
        Err(error) => {
            output.error(&format!("error: {}", fapo_domain::error::chain(&error)));
            return Exit::Usage.into();
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output.error(&format!("error: cannot start worker threads: {error}"));
            return Exit::Failed.into();
        }
    };
    let context = cli::Context { config, output };
    let exit = match server {
        Some(server) => runtime.block_on(cli::serve::run(&context, server, telemetry)),
        None => runtime.block_on(async {
            let _telemetry = telemetry;
            cli::run(cli, context).await
        }),
    };
    // what still runs at the end holds nothing that is not stored
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    exit.into()
}

/// How a command's log lines look.
const fn log_format(output: &Output) -> fapo_telemetry::Format {
    if output.live {
        let colour = output.notes.is_on();
        fapo_telemetry::Format::Terminal { colour }
    } else {
        fapo_telemetry::Format::Text
    }
}

/// Threads that drive the work. The store's connections have threads of their own and take about one core, and a worker
/// that only finds work now and then mostly costs the others the time to wake it.
fn workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.saturating_sub(1).clamp(1, 16)
}

/// Help and version are data, and end well; the rest is a usage error on standard error.
fn not_understood(error: &clap::Error, args: &[OsString], env: &Env) -> Exit {
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Ok;
    }
    // the flags could not be read; whoever wrote this one wants to read what went wrong
    if args.iter().any(|arg| arg == "--json") {
        let said = error.render().to_string();
        let body = serde_json::json!({
            "error": said.trim().trim_start_matches("error: "),
            "hint": "`fapo help` lists the commands, `fapo help <command>` the options of one",
            "exit": Exit::Usage.code(),
        });
        Output::new(true, false, env).error(&body.to_string());
    } else {
        let _ = error.print();
    }
    Exit::Usage
}
