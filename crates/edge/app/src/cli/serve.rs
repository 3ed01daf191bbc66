//! `fapo serve`: runs as a server until it is told to stop.

use std::collections::BTreeMap;

use fapo_telemetry::{Format, Guard, Otlp, TelemetryConfig};

use super::args::server::ServeArgs;
use super::config::checked;
use super::session::Found;
use super::{Context, fail};
use crate::config::Config;
use crate::config::layers::Layers;
use crate::config::raw::LogFormat;
use crate::exit::Exit;
use crate::output::Output;
use crate::server::{self, ServerOptions};

/// Reads the configuration. Its problems are listed on standard error and end the command.
pub fn configure(args: &ServeArgs, config: &Config, output: &Output) -> Found<ServerOptions> {
    let layers = Layers::read(&args.config.files, &config.env, &args.settings());
    let server = checked(output, layers)?;
    let owner = server::owner(&server).map_err(|error| {
        output.error(&format!(
            "error: the system gives no random numbers: {error}"
        ));
        Exit::Failed
    })?;
    Ok(ServerOptions {
        config: server,
        env: config.env.clone(),
        owner,
        abort_after_commits: config.abort_after_commits,
    })
}

/// Where a server's telemetry goes. `-v` and `-q` go before the configured filter.
pub fn telemetry(options: &ServerOptions, config: &Config) -> TelemetryConfig {
    let wanted = &options.config.telemetry;
    let otlp = wanted.otlp_endpoint.as_ref().map(|endpoint| {
        let headers: BTreeMap<String, String> = wanted
            .otlp_headers
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect();
        Otlp {
            headers,
            sample: wanted.sampling,
            ..Otlp::new(endpoint)
        }
    });
    TelemetryConfig {
        filter: config
            .asked_filter
            .clone()
            .unwrap_or_else(|| wanted.log_filter.clone()),
        format: match wanted.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        },
        service: "fapo".to_owned(),
        role: options.config.node.role_names(),
        instance: options.owner.clone(),
        otlp,
        metrics: true,
        content: wanted.content,
    }
}

/// Serves. An error is said once, here.
pub async fn run(context: &Context, options: ServerOptions, telemetry: Guard) -> Exit {
    match Box::pin(server::run(options, &context.output, telemetry)).await {
        Ok(exit) => exit,
        Err(error) => {
            fail(&context.output, &error, Exit::Failed);
            Exit::Failed
        }
    }
}
