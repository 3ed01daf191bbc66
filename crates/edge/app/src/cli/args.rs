//! The command line, typed. What each command does stands in its own file beside this one.

pub mod server;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use fapo_domain::model::case::Split;

pub use self::remote::{
    ControlArgs, ServerArgs, ServerOption, SubmitArgs, TasksCommand, WatchArgs,
};
use self::server::{ConfigCommand, GcArgs, HealthArgs, MigrateArgs, ServeArgs, TokenCommand};
use crate::exit::Exit;

mod remote;

/// Shown below the list of commands.
const FIRST_STEPS: &str = "First steps:
  fapo init my-project          make a small project that works offline
  fapo check my-project         find problems, see what it would cost
  fapo eval my-project          score the pipeline as it is
  fapo optimize my-project      make it better; the same command resumes";

/// Optimizes multi-step LLM pipelines by itself.
///
/// fapo runs a pipeline over cases, keeps every step's output, finds which step loses the points, proposes one scoped
/// change after the other, and keeps a change only when validation shows, at a stated error rate, that it is better.
#[derive(Debug, Parser)]
#[command(
    name = "fapo",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(after_help = FIRST_STEPS, after_long_help = format!("{FIRST_STEPS}\n\n{}", Exit::HELP))]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Write data as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Show more of what happens (-v, -vv, -vvv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Show errors only: no notes, no progress
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub quiet: bool,
    /// End the process, as by a kill, after N commits of the store
    #[arg(long, global = true, hide = true, value_name = "N")]
    pub abort_after_commits: Option<u64>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a small project that works
    Init(InitArgs),
    /// Say what is missing on this machine, and the command that mends it
    Doctor(DoctorArgs),
    /// List all problems of a project, and what running it would cost
    Check(DirArgs),
    /// Run one case and show every step
    Run(RunArgs),
    /// Score the pipeline on a split
    Eval(EvalArgs),
    /// Make the pipeline better; resumes what was interrupted
    Optimize(OptimizeArgs),
    /// Submit the project to a server, to be optimized there
    Submit(SubmitArgs),
    /// Show a server's job as it goes, to its end
    Watch(WatchArgs),
    /// End a server's job for good
    Cancel(ControlArgs),
    /// Let a server's job begin nothing new until it is resumed
    Pause(ControlArgs),
    /// Let a paused job of a server go on
    Resume(ControlArgs),
    /// Say how the project's jobs stand
    Status(StatusArgs),
    /// List a job's dead tasks, or try them again once their cause is mended
    #[command(subcommand)]
    Tasks(TasksCommand),
    /// Show the tree of variants and what became of each
    Lineage(JobArgs),
    /// Show what a coding agent was told, did and cost in a session
    Session(SessionArgs),
    /// Show what differs between two variants
    Diff(DiffArgs),
    /// Write the report of a job: Markdown and one HTML page
    Report(ReportArgs),
    /// Write a variant as files, or as a patch
    Export(ExportArgs),
    /// Serve a simulated model
    Sim(SimArgs),
    /// Run as a server: any set of roles of a cluster, or all of them
    Serve(ServeArgs),
    /// Look at a server's configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make, list and revoke the tokens that a server asks for
    #[command(subcommand)]
    Token(TokenCommand),
    /// Throw away what is old: runs of jobs that ended, and step results
    Gc(GcArgs),
    /// Bring a server's store up to date
    Migrate(MigrateArgs),
    /// Ask a server's process whether it is ready
    Health(HealthArgs),
    /// Print or write the JSON Schemas of fapo.yaml and pipeline.yaml, for your editor
    Schema(SchemaArgs),
    /// List or print the prompts of proposer, reviewer and failure reader
    Prompts(PromptsArgs),
    /// Write the completion script of a shell
    Completions(CompletionsArgs),
}

/// A project.
#[derive(Debug, Args)]
pub struct DirArgs {
    /// The project folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
}

/// `fapo init`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fapo init my-project                       questions over documents, offline
  fapo init triage --template classify       a classifier, offline
  fapo init qa --provider openai             the same with a real model")]
pub struct InitArgs {
    /// The folder to make; must be empty or absent
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// What kind of pipeline
    #[arg(long, value_enum, default_value_t = Template::Qa)]
    pub template: Template,
    /// Which model: the simulated one (offline, free), or an OpenAI-compatible one
    #[arg(long, value_enum, default_value_t = InitProvider::Sim)]
    pub provider: InitProvider,
}

/// A kind of pipeline to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// Questions answered from documents: retrieve, then answer
    Qa,
    /// Texts put into one of a few classes
    Classify,
}

/// The model of a new project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InitProvider {
    /// The simulated model that ships with fapo
    Sim,
    /// OpenAI, or any server that speaks its protocol, named by `base_url` in fapo.yaml
    Openai,
}

/// `fapo doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A project whose keys and endpoints are looked at, too
    pub dir: Option<PathBuf>,
}

/// `fapo run`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["case", "input"])))]
#[command(after_help = "Examples:
  fapo run . --case q-017
  fapo run . --input '{\"question\": \"Who built the lighthouse?\"}'
  fapo run . --case q-017 --fresh --json | jq '.run.steps[].output.text'")]
pub struct RunArgs {
    /// The project folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// A case of the data, by its id
    #[arg(long, value_name = "ID")]
    pub case: Option<String>,
    /// An input of your own, as a JSON object; it is run and not scored
    #[arg(long, value_name = "JSON")]
    pub input: Option<String>,
    /// Another variant than the folder's: baseline, best, or the first digits of a hash
    #[arg(long, value_name = "ID")]
    pub variant: Option<String>,
    /// Ask the model again even where the answer is known
    #[arg(long)]
    pub fresh: bool,
}

/// `fapo eval`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fapo eval .                           the pipeline as it is, on val
  fapo eval . --split train --cases 40
  fapo eval . --variant best --split val
  fapo eval . --sample 1                draw new samples from the model
  fapo eval . --json | jq .mean")]
pub struct EvalArgs {
    /// The project folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Which part of the data
    #[arg(long, value_enum, default_value_t = SplitArg::Val)]
    pub split: SplitArg,
    /// Only the first N cases
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub cases: Option<u64>,
    /// The sample index: another one draws new samples instead of reading the cache
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub sample: u32,
    /// Another variant than the folder's: baseline, best, or the first digits of a hash
    #[arg(long, value_name = "ID")]
    pub variant: Option<String>,
    /// How many failures to show
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub show_failures: usize,
}

/// A split on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SplitArg {
    /// Seen case by case by the optimizer
    Train,
    /// Decides promotions
    Val,
    /// Sealed for the optimizer; looking at it yourself is up to you
    Test,
}

impl From<SplitArg> for Split {
    fn from(split: SplitArg) -> Self {
        match split {
            SplitArg::Train => Self::Train,
            SplitArg::Val => Self::Val,
            SplitArg::Test => Self::Test,
        }
    }
}

/// `fapo optimize`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fapo optimize . --dry-run             what it would do and cost
  fapo optimize .                       starts, or goes on where it stopped
  fapo optimize . --new                 starts anew (the cache keeps what was paid for)
  fapo optimize . --max-proposals 10 --max-usd 2")]
pub struct OptimizeArgs {
    /// The project folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Say what it would do and cost, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Cancel the project's running job, if there is one, and start another
    #[arg(long)]
    pub new: bool,
    /// Ask for at most N proposals, whatever fapo.yaml says; set when a job begins
    #[arg(long, value_name = "N")]
    pub max_proposals: Option<u32>,
    /// Spend at most this many dollars in all, whatever fapo.yaml says; for a job that is going on, too
    #[arg(long, value_name = "USD")]
    pub max_usd: Option<f64>,
    /// Make at most N model calls in all, whatever fapo.yaml says; for a job that is going on, too
    #[arg(long, value_name = "N")]
    pub max_calls: Option<u64>,
}

/// `fapo status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The project folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// A job, by the first or last digits of its id; else the project's jobs are listed
    #[arg(long, value_name = "ID")]
    pub job: Option<String>,
    /// A server, instead of the folder.
    #[command(flatten)]
    pub server: ServerOption,
}

/// Commands about one job.
#[derive(Debug, Args)]
pub struct JobArgs {
    /// The project folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// A job, by the first or last digits of its id; the latest optimization where absent
    #[arg(long, value_name = "ID")]
    pub job: Option<String>,
    /// A server, instead of the folder.
    #[command(flatten)]
    pub server: ServerOption,
}

/// `fapo session`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fapo session                           the sessions of the latest job
  fapo session 3fa2                      one of them, by the first digits of its id
  fapo session my-project 3fa2 --full    every line whole
  fapo session 3fa2 --json | jq .transcript")]
pub struct SessionArgs {
    /// The project folder; this one where only an ID is given
    #[arg(value_name = "DIR")]
    pub dir: Option<String>,
    /// A session, by the first digits of its id; else those of a job are listed
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// The job whose sessions are listed; the latest optimization where absent
    #[arg(long, value_name = "ID")]
    pub job: Option<String>,
    /// Show long texts whole
    #[arg(long)]
    pub full: bool,
}

/// `fapo diff`.
#[derive(Debug, Args)]
#[command(
    after_help = "Variants are named baseline, best, current (the folder as it is), or by the first digits of a hash.

Examples:
  fapo diff .                       baseline and best
  fapo diff . best current
  fapo diff . 3fa2 81bc > change.patch"
)]
pub struct DiffArgs {
    /// The project folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// From
    #[arg(default_value = "baseline")]
    pub a: String,
    /// To
    #[arg(default_value = "best")]
    pub b: String,
    /// The job whose baseline and best are meant
    #[arg(long, value_name = "ID")]
    pub job: Option<String>,
}

/// `fapo report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The project folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// A job, by the first or last digits of its id; the latest optimization where absent
    #[arg(long, value_name = "ID")]
    pub job: Option<String>,
    /// Where to write report.md and report.html; DIR/.fapo/reports/<job> where absent
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// A server, instead of the folder.
    #[command(flatten)]
    pub server: ServerOption,
}

/// `fapo export`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["to", "patch"])))]
#[command(after_help = "Examples:
  fapo export . --to out                 the best variant's files, into out/
  fapo export . --patch best.patch       baseline to best; apply with `git apply` in the project folder
  fapo export . --variant 3fa2 --to out --force
  fapo export 9c56b7 --server https://fapo.example --to out")]
pub struct ExportArgs {
    /// The project folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// baseline, best, or the first digits of a hash
    #[arg(long, value_name = "ID", default_value = "best")]
    pub variant: String,
    /// The job whose baseline and best are meant
    #[arg(long, value_name = "ID")]
    pub job: Option<String>,
    /// Write the variant's files into this folder
    #[arg(long, value_name = "FOLDER")]
    pub to: Option<PathBuf>,
    /// Write the difference from the baseline into this file
    #[arg(long, value_name = "FILE")]
    pub patch: Option<PathBuf>,
    /// Replace what is there
    #[arg(long)]
    pub force: bool,
    /// A server, instead of the folder.
    #[command(flatten)]
    pub server: ServerOption,
}

/// `fapo sim`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fapo sim --world sim.json --port 8089
and in a project's fapo.yaml, so that its calls come here:
  task: { provider: openai, model: any, base_url: http://127.0.0.1:8089/v1 }")]
pub struct SimArgs {
    /// The file that says how the model behaves
    #[arg(long, value_name = "FILE")]
    pub world: PathBuf,
    /// The port on 127.0.0.1; 0 picks a free one
    #[arg(long, default_value_t = 8089)]
    pub port: u16,
}

/// `fapo schema`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("wanted").required(true).multiple(true).args(["file", "out"])))]
#[command(after_help = "Examples:
  fapo schema fapo                      what fapo.yaml may hold, as a JSON Schema
  fapo schema pipeline | jq '.[\"$defs\"] | keys'
  fapo schema --out schema              both, as files, into schema/

An editor with the YAML language server completes and checks with them where the first line of the file names one:
  # yaml-language-server: $schema=schema/fapo.schema.json             in fapo.yaml
  # yaml-language-server: $schema=../schema/pipeline.schema.json      in pipeline/pipeline.yaml")]
pub struct SchemaArgs {
    /// The file whose schema is wanted; with --out, both where absent
    #[arg(value_enum)]
    pub file: Option<SchemaOf>,
    /// Write fapo.schema.json and pipeline.schema.json into this folder, in place of older ones
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// A file that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// fapo.yaml: models, data, scorer, scope, budget
    Fapo,
    /// pipeline.yaml: the steps
    Pipeline,
}

/// `fapo prompts`.
#[derive(Debug, Args)]
#[command(
    after_help = "A project replaces a prompt with a file of its own: agents/NAME.md beside fapo.yaml.

Examples:
  fapo prompts                          all of them, and what each is for
  fapo prompts reviewer_system          its text
  mkdir agents && fapo prompts reviewer_system > agents/reviewer_system.md"
)]
pub struct PromptsArgs {
    /// A prompt to be printed; all are listed where absent
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// The project folder whose own prompts count
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub dir: PathBuf,
    /// Print the text that ships with fapo, whatever the project has
    #[arg(long, requires = "name")]
    pub default: bool,
}

/// `fapo completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fapo completions bash > ~/.local/share/bash-completion/completions/fapo")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

#[cfg(test)]
mod tests;
