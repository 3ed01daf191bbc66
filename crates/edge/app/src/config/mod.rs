//! What the process is told from outside: the environment, read once, and the choices made from it and the flags.
//!
//! [`Config`] is what every command has. A server has much more: layers (defaults, files, environment, flags) give what was
//! written ([`raw::RawConfig`]), which is validated as a whole into what can be run ([`server::ServerConfig`]).

pub mod dump;
pub mod env;
pub mod layers;
pub mod raw;
pub mod server;
pub mod units;
pub mod validate;

pub use env::Env;

/// Settings of one run of the program.
#[derive(Debug, Clone)]
pub struct Config {
    /// The environment, as it was at the start.
    pub env: Env,
    /// Which log lines are shown (`tracing` filter syntax).
    pub log_filter: String,
    /// The same where `-v`, `-q` or `FAPO_LOG` asks for it: it goes before what a server's configuration says.
    pub asked_filter: Option<String>,
    /// Data as JSON.
    pub json: bool,
    /// No notes and no progress.
    pub quiet: bool,
    /// End the process, as by `kill -9`, after so many commits of the store: for fault-injection tests.
    pub abort_after_commits: Option<u64>,
}

impl Config {
    /// Joins flags and environment: `FAPO_LOG` holds a log filter unless `-v` or `-q` is given.
    pub fn new(env: Env, json: bool, verbose: u8, quiet: bool, abort: Option<u64>) -> Self {
        let asked_filter = match (quiet, verbose) {
            (true, _) => Some("error".to_owned()),
            (false, 0) => env.get("FAPO_LOG").map(str::to_owned),
            (false, 1) => Some("warn,fapo=info".to_owned()),
            (false, 2) => Some("info,fapo=debug".to_owned()),
            (false, _) => Some("debug,fapo=trace".to_owned()),
        };
        let quiet_filter = || fapo_telemetry::QUIET.to_owned();
        let log_filter = asked_filter.clone().unwrap_or_else(quiet_filter);
        Self {
            env,
            log_filter,
            asked_filter,
            json,
            quiet,
            abort_after_commits: abort,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_environment() {
        let env = Env::from_pairs([("FAPO_LOG", "trace")]);
        let filter =
            |verbose, quiet| Config::new(env.clone(), false, verbose, quiet, None).log_filter;
        assert_eq!(filter(0, false), "trace");
        assert_eq!(filter(1, false), "warn,fapo=info");
        assert_eq!(filter(0, true), "error");
    }
}
