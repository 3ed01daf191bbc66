//! `fapo config`: looks at a server's configuration without serving.

use super::Context;
use super::args::server::{ConfigArgs, ConfigCommand};
use super::session::{Found, list_problems_of};
use crate::config::layers::Layers;
use crate::config::server::ServerConfig;
use crate::config::validate::validate;
use crate::config::{Env, dump};
use crate::exit::Exit;
use crate::output::Output;

pub fn run(context: &Context, command: &ConfigCommand) -> anyhow::Result<Exit> {
    let output = &context.output;
    match command {
        ConfigCommand::Check(args) => {
            let config = match read(&context.config.env, output, args) {
                Ok(config) => config,
                Err(exit) => return Ok(exit),
            };
            if output.json {
                output.json(&serde_json::json!({"problems": []}))?;
            } else {
                output.note(&format!(
                    "{} the configuration can be used, for: {}",
                    output.notes.good("ok"),
                    config.node.role_names()
                ));
            }
        }
        ConfigCommand::Dump(args) => {
            let layers = Layers::read(&args.files, &context.config.env, &args.set);
            // what cannot be used is told of, and the rest shown: that is what one looks for then
            let broken = layers.problems.has_errors();
            if broken {
                list_problems_of("the configuration has problems", output, &layers.problems);
            }
            if output.json {
                output.json(&dump::as_json(&layers))?;
            } else {
                output.data(&dump::as_toml(&layers))?;
            }
            if broken {
                return Ok(Exit::Problems);
            }
        }
        ConfigCommand::Schema => output.data(&serde_json::to_string_pretty(&dump::schema())?)?,
    }
    Ok(Exit::Ok)
}

/// The configuration, validated. Its problems are listed on standard error and end the command.
pub fn read(env: &Env, output: &Output, args: &ConfigArgs) -> Found<ServerConfig> {
    checked(output, Layers::read(&args.files, env, &args.set))
}

/// The same for layers that were read.
pub fn checked(output: &Output, layers: Layers) -> Found<ServerConfig> {
    validate(layers).map_err(|layers| {
        list_problems_of("the configuration has problems", output, &layers.problems);
        Exit::Problems
    })
}
