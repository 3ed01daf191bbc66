//! `fapo doctor`: what is missing on this machine, and the command that mends it.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use fapo_domain::model::project::{ModelSpec, Provider};
use serde::Serialize;

use super::Context;
use super::args::DoctorArgs;
use crate::exit::Exit;
use crate::output::format;
use crate::output::style::{Style, printable};
use crate::project::{LoadError, expand, load_project};

/// Free bytes below which a person is warned: a long job with long texts may need that much.
const LITTLE_SPACE: u64 = 500 * 1024 * 1024;

/// How long an endpoint may take to accept a connection.
const REACH: Duration = Duration::from_secs(4);

pub async fn run(context: &Context, args: &DoctorArgs) -> anyhow::Result<Exit> {
    let mut findings = vec![Finding::fine(
        "fapo",
        format!(
            "{} on {} {}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
    )];
    let dir = args.dir.as_deref().unwrap_or_else(|| Path::new("."));
    findings.push(writable(dir));
    findings.extend(space(dir));
    if args.dir.is_some() || dir.join("fapo.yaml").is_file() {
        project(context, dir, &mut findings).await;
    } else {
        findings.push(Finding::note(
            "project",
            "no project here; keys and endpoints were not looked at".to_owned(),
            "fapo init my-project, or fapo doctor DIR",
        ));
    }
    if context.output.json {
        context.output.json(&findings)?;
    } else {
        context
            .output
            .data(&text(&findings, context.output.style))?;
    }
    let missing = findings
        .iter()
        .any(|finding| finding.level == Level::Missing);
    Ok(if missing { Exit::Problems } else { Exit::Ok })
}

/// Something that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    what: String,
    detail: String,
    mend: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Note,
    Missing,
}

impl Finding {
    fn fine(what: impl Into<String>, detail: String) -> Self {
        Self {
            level: Level::Ok,
            what: what.into(),
            detail,
            mend: None,
        }
    }

    fn note(what: impl Into<String>, detail: String, mend: impl Into<String>) -> Self {
        Self {
            level: Level::Note,
            what: what.into(),
            detail,
            mend: Some(mend.into()),
        }
    }

    fn missing(what: impl Into<String>, detail: String, mend: impl Into<String>) -> Self {
        Self {
            level: Level::Missing,
            ..Self::note(what, detail, mend)
        }
    }
}

fn text(findings: &[Finding], style: Style) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        let mark = match finding.level {
            Level::Ok => style.good("ok     "),
            Level::Note => style.warn("note   "),
            Level::Missing => style.bad("missing"),
        };
        lines.push(format!(
            "{mark}  {}: {}",
            style.bold(&printable(&finding.what)),
            printable(&finding.detail)
        ));
        if let Some(mend) = &finding.mend {
            lines.push(format!("         {}", style.accent(&printable(mend))));
        }
    }
    lines.join("\n")
}

/// Tries what every job does: make files in the project's `.fapo`. Nothing is left behind.
fn writable(dir: &Path) -> Finding {
    let store = dir.join(".fapo");
    let place = if store.is_dir() {
        store
    } else {
        dir.to_owned()
    };
    let tried = tempfile::NamedTempFile::new_in(&place).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.as_file().sync_all()
    });
    match tried {
        Ok(()) => Finding::fine("folder", format!("{} can be written", place.display())),
        Err(error) => Finding::missing(
            "folder",
            format!("{} cannot be written: {error}", place.display()),
            format!(
                "chown or chmod it, or free some space: ls -ld {0}; df -h {0}",
                place.display()
            ),
        ),
    }
}

#[cfg(unix)]
fn space(dir: &Path) -> Option<Finding> {
    let system = rustix::fs::statvfs(dir).ok()?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let text = format!("{} MB free", format::count(free / 1024 / 1024));
    Some(if free < LITTLE_SPACE {
        Finding::note("disk", text, format!("make room: df -h {}", dir.display()))
    } else {
        Finding::fine("disk", text)
    })
}

#[cfg(not(unix))]
fn space(_dir: &Path) -> Option<Finding> {
    None
}

async fn project(context: &Context, dir: &Path, findings: &mut Vec<Finding>) {
    let env = &context.config.env;
    let project = match load_project(dir, &|name| env.get(name).map(str::to_owned)) {
        Ok(project) => project,
        Err(LoadError::Problems(problems)) => {
            findings.push(Finding::missing(
                "project",
                format::counted(problems.len() as u64, "problem"),
                format!("fapo check {}", dir.display()),
            ));
            return;
        }
        Err(error) => {
            findings.push(Finding::missing(
                "project",
                fapo_domain::error::chain(&error),
                format!("fapo init {}", dir.display()),
            ));
            return;
        }
    };
    findings.push(Finding::fine(
        "project",
        format!("{} reads well", project.spec.name),
    ));
    if project.runs_code() {
        findings.push(match crate::wiring::sandbox::try_code(env).await {
            Ok(detail) => Finding::fine("code", detail),
            Err(error) => Finding::missing(
                "code",
                super::advice::explain(&error),
                "docs/python.md says what code needs",
            ),
        });
    }
    let prices = match crate::wiring::prices(dir) {
        Ok(prices) => prices,
        Err(error) => {
            findings.push(Finding::missing(
                "prices",
                super::advice::explain(&error),
                "mend prices.toml, or take it away",
            ));
            return;
        }
    };
    for (entry, model) in &project.spec.models {
        let what = format!("model {entry}");
        if model.provider == Provider::Sim {
            findings.push(Finding::fine(
                what,
                "simulated: needs no key and no network".to_owned(),
            ));
            continue;
        }
        findings.push(key(&what, model, &|name| env.get(name).is_some()));
        let proxy = env.get("HTTPS_PROXY").or_else(|| env.get("https_proxy"));
        let address = |name: &str| env.get(name).map(str::to_owned);
        findings.push(reach(&what, model, &address, proxy).await);
        if prices.price(model).is_none() && project.spec.budget.usd.is_some() {
            findings.push(Finding::missing(
                what,
                format!(
                    "nobody knows what {} costs, so `budget.usd` cannot be kept",
                    model.model
                ),
                format!("in fapo.yaml: models.{entry}.price: {{ input: ..., output: ... }}"),
            ));
        }
    }
}

/// Whether the model's key is set; its value is never looked at.
fn key(what: &str, model: &ModelSpec, is_set: &dyn Fn(&str) -> bool) -> Finding {
    let (variable, usual) = match (&model.api_key_env, model.provider) {
        (Some(named), _) => (named.as_str(), false),
        (None, Provider::Anthropic) => ("ANTHROPIC_API_KEY", true),
        (None, Provider::Openai | Provider::Sim) => ("OPENAI_API_KEY", true),
    };
    if is_set(variable) {
        return Finding::fine(what, format!("{variable} is set"));
    }
    let detail = format!("{variable} is not set");
    let mend = format!("export {variable}=...");
    if usual && model.base_url.is_some() {
        // a server of one's own often needs none
        Finding::note(
            what,
            detail,
            format!("{mend}   (if the server wants a key)"),
        )
    } else {
        Finding::missing(what, detail, mend)
    }
}

async fn reach(
    what: &str,
    model: &ModelSpec,
    env: &dyn Fn(&str) -> Option<String>,
    proxy: Option<&str>,
) -> Finding {
    // as it stands in the file: what its variables hold may be secret
    let url = model.base_url.as_deref().unwrap_or(match model.provider {
        Provider::Anthropic => "https://api.anthropic.com/v1",
        Provider::Openai | Provider::Sim => "https://api.openai.com/v1",
    });
    let expanded = expand(url, env).unwrap_or_default();
    let Some((host, port)) = address(&expanded) else {
        return Finding::missing(
            what,
            format!("{url} is not an address"),
            "write base_url as http://host:port/v1",
        );
    };
    let connecting = tokio::net::TcpStream::connect((host, port));
    let failed = match tokio::time::timeout(REACH, connecting).await {
        Ok(Ok(_)) => return Finding::fine(what, format!("{host}:{port} answers")),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", REACH.as_secs()),
    };
    let detail = format!("{host}:{port} cannot be reached: {failed}");
    if proxy.is_some() {
        return Finding::note(
            what,
            detail,
            "a proxy is set; calls may still get through it",
        );
    }
    Finding::missing(
        what,
        detail,
        format!("start the server, or check base_url: curl -sS {url}/models"),
    )
}

/// Host and port of an http or https URL.
fn address(url: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let place = authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place);
    let (host, port) = if let Some(inner) = place.strip_prefix('[') {
        let (host, after) = inner.split_once(']')?;
        (host, after.strip_prefix(':'))
    } else {
        place
            .split_once(':')
            .map_or((place, None), |(host, port)| (host, Some(port)))
    };
    if host.is_empty() {
        return None;
    }
    Some((host, port.map_or(Some(usual), |port| port.parse().ok())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(value: serde_json::Value) -> ModelSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_address_is_read_from_a_url() {
        assert_eq!(
            address("https://api.openai.com/v1"),
            Some(("api.openai.com", 443))
        );
        assert_eq!(
            address("http://127.0.0.1:8089/v1"),
            Some(("127.0.0.1", 8089))
        );
        assert_eq!(address("http://[::1]:80/v1"), Some(("::1", 80)));
        assert_eq!(address("http://user:pass@host/v1"), Some(("host", 80)));
        for bad in ["localhost:80", "ftp://x", "http:///v1", "http://x:port"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_missing_key_is_named_with_the_command_that_sets_it() {
        let cloud = model(serde_json::json!({"provider": "anthropic", "model": "m"}));
        let finding = key("model task", &cloud, &|_| false);
        assert_eq!(finding.level, Level::Missing);
        assert_eq!(
            finding.mend.as_deref(),
            Some("export ANTHROPIC_API_KEY=...")
        );
        assert_eq!(key("model task", &cloud, &|_| true).level, Level::Ok);
        let own = model(serde_json::json!({
            "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"
        }));
        assert_eq!(key("model task", &own, &|_| false).level, Level::Note);
    }

    #[tokio::test]
    async fn an_endpoint_that_is_down_is_missing_and_one_that_is_up_is_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let at = |port: u16| {
            model(serde_json::json!({
                "provider": "openai", "model": "m", "base_url": format!("http://127.0.0.1:{port}/v1")
            }))
        };
        assert_eq!(
            reach("m", &at(port), &|_| None, None).await.level,
            Level::Ok
        );
        drop(listener);
        let down = reach("m", &at(port), &|_| None, None).await;
        assert_eq!(down.level, Level::Missing, "{down:?}");
        assert_eq!(
            reach("m", &at(port), &|_| None, Some("http://proxy"))
                .await
                .level,
            Level::Note
        );
    }

    #[test]
    fn a_folder_that_is_not_there_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(writable(dir.path()).level, Level::Ok);
        assert_eq!(writable(&dir.path().join("absent")).level, Level::Missing);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "nothing is left behind"
        );
    }
}
