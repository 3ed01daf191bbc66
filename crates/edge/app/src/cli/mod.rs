//! The commands: each in its own file, over what they share.

pub mod advice;
pub mod args;
mod check;
mod config;
mod diff;
mod doctor;
mod estimate;
mod eval;
mod export;
mod find;
mod gc;
mod health;
mod init;
mod lineage;
mod migrate;
mod optimize;
mod prompts;
mod remote;
mod report;
mod run;
mod schema;
pub mod serve;
mod session;
mod sessions;
pub mod signals;
mod sim;
mod status;
mod summary;
mod tasks;
mod token;

use std::io;

use clap::CommandFactory as _;

use self::args::{Cli, Command};
use crate::config::Config;
use crate::exit::Exit;
use crate::output::Output;

/// What every command is given.
#[derive(Debug)]
pub struct Context {
    /// Settings.
    pub config: Config,
    /// Where to write.
    pub output: Output,
}

/// Runs a command to its end and says how it ended. An error is said once, here.
pub async fn run(cli: Cli, context: Context) -> Exit {
    match dispatch(cli.command, &context).await {
        Ok(exit) => exit,
        Err(error) if is_closed_pipe(&error) => Exit::Ok,
        Err(error) => {
            fail(&context.output, &error, Exit::Failed);
            Exit::Failed
        }
    }
}

async fn dispatch(command: Command, context: &Context) -> anyhow::Result<Exit> {
    match command {
        Command::Init(args) => init::run(context, &args),
        Command::Doctor(args) => doctor::run(context, &args).await,
        Command::Check(args) => check::run(context, &args).await,
        Command::Run(args) => Box::pin(run::run(context, &args)).await,
        Command::Eval(args) => Box::pin(eval::run(context, &args)).await,
        Command::Optimize(args) => Box::pin(optimize::run(context, &args)).await,
        Command::Submit(args) => Box::pin(remote::submit::run(context, &args)).await,
        Command::Watch(args) => remote::watch::run(context, &args).await,
        Command::Cancel(args) => remote::control::cancel(context, &args).await,
        Command::Pause(args) => remote::control::pause(context, &args, true).await,
        Command::Resume(args) => remote::control::pause(context, &args, false).await,
        Command::Status(args) => status::run(context, &args).await,
        Command::Tasks(command) => tasks::run(context, &command).await,
        Command::Lineage(args) => lineage::run(context, &args).await,
        Command::Session(args) => sessions::run(context, &args).await,
        Command::Diff(args) => diff::run(context, &args).await,
        Command::Report(args) => report::run(context, &args).await,
        Command::Export(args) => export::run(context, &args).await,
        Command::Sim(args) => sim::run(context, &args).await,
        // taken before: it sets up its own logging
        Command::Serve(_) => Ok(Exit::Usage),
        Command::Config(command) => config::run(context, &command),
        Command::Token(command) => token::run(context, &command).await,
        Command::Gc(args) => gc::run(context, &args).await,
        Command::Migrate(args) => migrate::run(context, &args).await,
        Command::Health(args) => health::run(context, &args).await,
        Command::Schema(args) => schema::run(context, &args),
        Command::Prompts(args) => prompts::run(context, &args),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "fapo", &mut script);
            context.output.data(&String::from_utf8_lossy(&script))?;
            Ok(Exit::Ok)
        }
    }
}

/// Says an error with all its causes, what to do about it, and how the command ends for it.
fn fail(output: &Output, error: &anyhow::Error, exit: Exit) {
    let text = advice::explain(error);
    let hint = advice::hint(error);
    if output.json {
        let body = serde_json::json!({
            "error": text,
            "reason": advice::reason(error),
            "hint": hint,
            "exit": exit.code(),
        });
        output.error(&body.to_string());
        return;
    }
    output.error(&format!("{}: {text}", output.notes.bad("error")));
    if let Some(hint) = hint {
        output.error(&format!("{}: {hint}", output.notes.accent("hint")));
    }
}

/// Whether the reader of standard output went away (`fapo lineage | head`): no failure of ours.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
