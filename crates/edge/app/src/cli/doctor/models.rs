//! Models: keys and endpoints. No call is made.

use std::time::Duration;

use fapo_domain::model::project::{ModelSpec, Provider};

use super::finding::Finding;
use crate::project::expand;

/// How long an endpoint may take to accept a connection.
const REACH: Duration = Duration::from_secs(4);

/// The variable that holds a model's key.
pub fn variable(model: &ModelSpec) -> &str {
    match (&model.api_key_env, model.provider) {
        (Some(named), _) => named,
        (None, Provider::Anthropic) => "ANTHROPIC_API_KEY",
        (None, Provider::Openai | Provider::Sim) => "OPENAI_API_KEY",
    }
}

/// Whether the model's key is set; its value is never looked at.
pub fn key(what: &str, model: &ModelSpec, is_set: &dyn Fn(&str) -> bool) -> Finding {
    let variable = variable(model);
    let usual = model.api_key_env.is_none();
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

/// Whether the model's endpoint accepts a connection.
pub async fn reach(
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
    let mend = match model.base_url {
        Some(_) => format!("start the server, or check base_url: curl -sS {url}/models"),
        None => format!("check the network, or set HTTPS_PROXY: curl -sS {url}/models"),
    };
    Finding::missing(what, detail, mend)
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
    use super::super::finding::Level;
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
}
