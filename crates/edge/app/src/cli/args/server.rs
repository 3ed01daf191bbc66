//! The command line of a server, typed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use fapo_domain::model::access::Role;

use crate::config::layers::Setting;
use crate::config::units::Period;

/// Where a server's configuration comes from, beside the defaults and the environment.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// A configuration file; several are laid one over the other
    #[arg(long = "config", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Set a key, as in --set store.pool=32; goes before files and environment
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<Setting>,
}

/// `fapo serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fapo serve                                        every role in one process, for this machine alone
  fapo serve --config cluster.toml --role executor  one role of a cluster
  fapo serve --role gateway,orchestrator --config cluster.toml --http 0.0.0.0:7400
  fapo config dump --config cluster.toml            what counts in the end, and where it was set")]
pub struct ServeArgs {
    /// Configuration
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What this process does: all, or any of the roles
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',',
          value_parser = ["all", "gateway", "orchestrator", "executor", "traces", "scoring", "diagnosis"])]
    pub roles: Vec<String>,
    /// The folder for what this process keeps itself
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<String>,
    /// Where to listen for gRPC; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS")]
    pub grpc: Option<String>,
    /// Where to listen for HTTP; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<String>,
}

impl ServeArgs {
    /// All that the command line sets, the general before the particular.
    pub fn settings(&self) -> Vec<Setting> {
        let one = |flag: &str, key: &str, text: Option<String>| {
            text.map(|text| Setting {
                flag: flag.to_owned(),
                key: key.to_owned(),
                text,
            })
        };
        let roles = Some(self.roles.join(",")).filter(|roles| !roles.is_empty());
        let own = [
            one("--role", "node.roles", roles),
            one("--dir", "node.dir", self.dir.clone()),
            one("--grpc", "listen.grpc", self.grpc.clone()),
            one("--http", "listen.http", self.http.clone()),
        ];
        let general = self.config.set.iter().cloned();
        general.chain(own.into_iter().flatten()).collect()
    }
}

/// `fapo config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// List all problems of a server's configuration
    Check(ConfigArgs),
    /// Show every value, and where it was set
    Dump(ConfigArgs),
    /// Print the JSON Schema of a configuration file, for your editor
    Schema,
}

/// `fapo token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token, and print it once
    Create(CreateTokenArgs),
    /// List the tokens there are
    List(ListTokensArgs),
    /// Revoke a token for good
    Revoke(RevokeTokenArgs),
}

/// `fapo token create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fapo token create --project qa --role submitter --name ci --expires 90d
  fapo token create --role service --name cluster > cluster.token")]
pub struct CreateTokenArgs {
    /// Configuration: where the store is
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What it is for, as lists and logs show it
    #[arg(long)]
    pub name: String,
    /// What it allows
    #[arg(long, value_enum)]
    pub role: TokenRole,
    /// The one project it is for; else it is for all
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// When it ends, such as 30d; else never
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    pub expires: Option<Period>,
}

/// `fapo token list`.
#[derive(Debug, Args)]
pub struct ListTokensArgs {
    /// Configuration: where the store is
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Only those of one project
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
}

/// `fapo token revoke`.
#[derive(Debug, Args)]
pub struct RevokeTokenArgs {
    /// Configuration: where the store is
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The token's id, as `fapo token list` shows it
    pub id: String,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// Read jobs, runs, lineage, reports
    Viewer,
    /// Also submit, cancel, pause, resume, retry
    Submitter,
    /// Also make and revoke the project's tokens
    Admin,
    /// A process of the cluster; never for a person
    Service,
}

impl From<TokenRole> for Role {
    fn from(role: TokenRole) -> Self {
        match role {
            TokenRole::Viewer => Self::Viewer,
            TokenRole::Submitter => Self::Submitter,
            TokenRole::Admin => Self::Admin,
            TokenRole::Service => Self::Service,
        }
    }
}

/// `fapo gc`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fapo gc my-project --older-than 30d --dry-run     what would go from a project's own store
  fapo gc --config cluster.toml                     by the rules of a server's [retention]")]
pub struct GcArgs {
    /// The project folder, where no server's store is meant
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Configuration: which server's store is meant
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Runs, steps, scores and findings of jobs that ended longer ago go; 90d for a project's store
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    pub older_than: Option<Period>,
    /// Step results that are older go, too: what they answered is paid for again
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    pub cache_older_than: Option<Period>,
    /// Count only
    #[arg(long)]
    pub dry_run: bool,
}

/// `fapo migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Configuration: where the store is
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `fapo health`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("asked").required(true).args(["http", "grpc"])))]
#[command(after_help = "Examples:
  fapo health --http http://127.0.0.1:7400          whether a process is ready (/readyz)
  fapo health --grpc http://127.0.0.1:7401          the same by grpc.health.v1")]
pub struct HealthArgs {
    /// The address of its HTTP port
    #[arg(long, value_name = "URL")]
    pub http: Option<String>,
    /// The address of its gRPC port
    #[arg(long, value_name = "URL")]
    pub grpc: Option<String>,
    /// How long to wait for an answer
    #[arg(long, value_name = "PERIOD", value_parser = period, default_value = "3s")]
    pub timeout: Period,
}

fn period(text: &str) -> Result<Period, String> {
    Period::parse(text).ok_or_else(|| "a number with ms, s, m, h or d, such as 30d".to_owned())
}

fn setting(text: &str) -> Result<Setting, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok(Setting {
            flag: format!("--set {}", key.trim()),
            key: key.trim().to_owned(),
            text: value.to_owned(),
        }),
        _ => Err("KEY=VALUE, such as store.pool=32".to_owned()),
    }
}
