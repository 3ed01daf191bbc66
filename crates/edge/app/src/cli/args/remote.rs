//! The options of commands that ask a server.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::JobArgs;

/// Which server, for commands that need one.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The server's address, such as http://127.0.0.1:7401; FAPO_SERVER where absent
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// A file that holds the token; FAPO_TOKEN where absent
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Which server, for commands that work on a folder unless one is named.
#[derive(Debug, Clone, Default, Args)]
pub struct ServerOption {
    /// Ask this server instead of the folder; the folder's place is then taken by a job's id
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// A file that holds the token; FAPO_TOKEN where absent
    #[arg(long, value_name = "FILE", requires = "server")]
    pub token_file: Option<PathBuf>,
}

impl ServerOption {
    /// The server, where one is named.
    pub fn named(&self) -> Option<ServerArgs> {
        self.server.is_some().then(|| ServerArgs {
            server: self.server.clone(),
            token_file: self.token_file.clone(),
        })
    }
}

/// `fapo submit`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fapo submit . --dry-run                               which files would be sent
  fapo submit . --server https://fapo.example --watch   submits, and shows it to its end
  fapo submit . --json | jq -r .job                     the job's id; FAPO_SERVER says where

Ctrl-C while it is watched leaves the job running on the server.")]
pub struct SubmitArgs {
    /// The project folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Which server
    #[command(flatten)]
    pub server: ServerArgs,
    /// Show the job as it goes, to its end
    #[arg(long)]
    pub watch: bool,
    /// List the files that would be sent, with their sizes, and send nothing
    #[arg(long, conflicts_with = "watch")]
    pub dry_run: bool,
    /// The request's own name: the same one with the same files gives the same job. A new one where absent
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
}

/// `fapo watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// A job, by the first or last digits of its id; the newest optimization where absent
    pub job: Option<String>,
    /// Which server
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `fapo cancel`, `fapo pause`, `fapo resume`.
#[derive(Debug, Args)]
pub struct ControlArgs {
    /// A job, by the first or last digits of its id
    pub job: String,
    /// Which server
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `fapo tasks`.
#[derive(Debug, Subcommand)]
pub enum TasksCommand {
    /// List the tasks that failed for good, with their reasons
    List(JobArgs),
    /// Put them back to work, and the job with them
    Retry(JobArgs),
}
