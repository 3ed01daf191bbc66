//! What the commands with `--server` share: reaching the server, and finding the job that a name stands for.

pub mod control;
pub mod show;
pub mod submit;
pub mod watch;

use fapo_domain::JobId;
use fapo_domain::model::access::{Caller, Credential, Role};
use fapo_domain::model::job::JobGoal;
use fapo_domain::ports::optimizer::JobSummary;

use super::Context;
use super::advice::Advice;
use super::args::ServerArgs;
use super::find;
use crate::remote::Remote;

/// The variable that names the server.
const SERVER: &str = "FAPO_SERVER";
/// The variable that holds the token.
const TOKEN: &str = "FAPO_TOKEN";

/// The server that the command line or the environment names. Nothing is asked of it yet.
pub fn connect(context: &Context, args: &ServerArgs) -> anyhow::Result<Remote> {
    let server = server(context, args)?;
    let credential = credential(context, args)?;
    let optimizer = crate::wiring::remote::optimizer(&server, credential.clone())?;
    Ok(Remote {
        server,
        optimizer,
        // what it may do is the server's to say
        caller: Caller {
            name: "remote".into(),
            role: Role::Viewer,
            project: None,
            credential,
        },
    })
}

fn server(context: &Context, args: &ServerArgs) -> anyhow::Result<String> {
    let named = args
        .server
        .as_deref()
        .or_else(|| context.config.env.get(SERVER))
        .map(|server| server.trim().trim_end_matches('/'))
        .filter(|server| !server.is_empty());
    let Some(server) = named else {
        return Err(Advice::new(
            "no server is named",
            format!("give its address with --server URL, or in {SERVER}"),
        )
        .into());
    };
    let is_url = server
        .split_once("://")
        .is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && !host.is_empty());
    if !is_url {
        return Err(Advice::new(
            format!("{server:?} is not the address of a server"),
            "write it as http://HOST:PORT, or https://HOST where it speaks TLS",
        )
        .into());
    }
    Ok(server.to_owned())
}

/// The token, which is never shown.
fn credential(context: &Context, args: &ServerArgs) -> anyhow::Result<Option<Credential>> {
    let Some(file) = &args.token_file else {
        return Ok(context
            .config
            .env
            .get(TOKEN)
            .map(str::trim)
            .map(Credential::new));
    };
    let text = std::fs::read_to_string(file).map_err(|source| {
        Advice::because(
            format!("cannot read the token in {}", file.display()),
            "name a file that holds the token and nothing else",
            source,
        )
    })?;
    match text.trim() {
        "" => Err(Advice::new(
            format!("{} holds no token", file.display()),
            "put the token into it, as it was shown when it was made",
        )
        .into()),
        token => Ok(Some(Credential::new(token))),
    }
}

/// The job that `name` stands for, as on the command line of a folder: the newest optimization without one.
pub async fn job(remote: &Remote, name: Option<&str>) -> anyhow::Result<JobSummary> {
    // a whole id needs no list, and may be older than any
    if let Some(id) = name.and_then(|name| name.parse::<JobId>().ok()) {
        return Ok(remote.optimizer.job(&remote.caller, id).await?);
    }
    let jobs = remote.named().await?;
    let Some(name) = name else {
        return jobs
            .into_iter()
            .find(|job| job.goal == JobGoal::Optimize)
            .ok_or_else(|| {
                let hint = format!("`fapo submit DIR --server {}` starts one", remote.server);
                Advice::new("there is no optimization yet", hint).into()
            });
    };
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let id = find::pick(&ids, name).map_err(|advice| {
        let hint = format!("`fapo status --server {}` lists the jobs", remote.server);
        advice.with_hint(hint)
    })?;
    let found = jobs.into_iter().find(|job| job.id == id);
    Ok(found.expect("it was picked among them"))
}

/// How the job is named in a command for the person to type.
pub fn command(verb: &str, remote: &Remote, job: JobId) -> String {
    format!("fapo {verb} {} --server {}", job.short(), remote.server)
}

#[cfg(test)]
mod tests;
