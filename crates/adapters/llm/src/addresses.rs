//! Which addresses calls may go to, where those who write model entries are not those whose keys the process holds.
//!
//! A key is sent wherever an entry says, and a process can reach what its users cannot: other services, the machine's own ports,
//! the metadata of a cloud. So a server calls only what its operator named.

use fapo_domain::model::project::ModelSpec;
use reqwest::Url;

use crate::provider::EnvLookup;

/// The addresses that model entries may have.
#[derive(Debug, Clone)]
pub struct Addresses(Option<Vec<Url>>);

/// A text that names no address of models.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no address of models: it is http:// or https://, a host, and a path such as /v1, and nothing else"
)]
pub struct BadAddress {
    /// The text.
    pub text: String,
}

impl Addresses {
    /// Whatever an entry says: for a process that works for whoever wrote it.
    pub const fn any() -> Self {
        Self(None)
    }

    /// Those of the providers themselves; those that are one variable of the environment, with a path behind it or without;
    /// and `listed`, each up to and including its path.
    ///
    /// # Errors
    /// For a text that is no such address.
    pub fn listed<'a>(listed: impl IntoIterator<Item = &'a str>) -> Result<Self, BadAddress> {
        let read = |text: &str| {
            let bad = || BadAddress {
                text: text.to_owned(),
            };
            let url = Url::parse(text).map_err(|_| bad())?;
            let is_plain = matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none();
            if is_plain { Ok(url) } else { Err(bad()) }
        };
        let urls: Result<Vec<Url>, BadAddress> = listed.into_iter().map(read).collect();
        urls.map(|urls| Self(Some(urls)))
    }

    /// Whether calls of an entry may go to `base`, which is what its `base_url` stands for. `official` is the provider's own.
    pub(crate) fn admit(
        &self,
        spec: &ModelSpec,
        base: &str,
        official: Option<&str>,
        env: &EnvLookup,
    ) -> bool {
        let (Some(listed), Some(written)) = (&self.0, &spec.base_url) else {
            return true;
        };
        let Ok(base) = Url::parse(base) else {
            return false;
        };
        let official = official.and_then(|official| Url::parse(official).ok());
        is_of_operator(written, &base, env)
            || listed
                .iter()
                .chain(&official)
                .any(|known| is_same(known, &base))
    }
}

/// Whether an address begins with a variable that holds one: then whoever set the variable chose the host. A variable in the
/// middle of an address is the other way round, and sends what it holds to a host of the writer's choice.
fn is_of_operator(written: &str, base: &Url, env: &EnvLookup) -> bool {
    let Some((name, path)) = written
        .strip_prefix("${")
        .and_then(|rest| rest.split_once('}'))
    else {
        return false;
    };
    // what follows must not become a part of the host
    if !path.is_empty() && !path.starts_with('/') || path.contains("${") {
        return false;
    }
    // a variable that holds `https:` would leave the host to what follows it
    env(name)
        .and_then(|value| Url::parse(value.trim()).ok())
        .is_some_and(|value| value.has_host() && value.origin() == base.origin())
}

/// Whether two addresses are the same host, port and path. What stands behind the path reaches nobody else.
fn is_same(known: &Url, base: &Url) -> bool {
    known.origin() == base.origin() && path(known) == path(base)
}

/// As calls use it: `http://host` is a common way to write `http://host/v1`.
fn path(url: &Url) -> &str {
    match url.path().trim_end_matches('/') {
        "" => "/v1",
        path => path,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fapo_domain::model::project::Provider;

    use super::*;

    const OPENAI: &str = "https://api.openai.com/v1";

    fn admitted(addresses: &Addresses, written: &str) -> bool {
        let variables = [
            ("FAPO_MODEL_URL", " http://10.0.0.7:8000 "),
            ("FAPO_MODEL_SCHEME", "https:"),
            ("FAPO_MODEL_PORT", "8000"),
            ("OPENAI_API_KEY", "sk-secret"),
        ];
        let look = move |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let env: EnvLookup = Arc::new(look);
        let mut base = written.to_owned();
        for (name, value) in variables {
            base = base.replace(&format!("${{{name}}}"), value.trim());
        }
        let mut spec = ModelSpec::named(Provider::Openai, "m");
        spec.base_url = Some(written.to_owned());
        addresses.admit(&spec, &base, Some(OPENAI), &env)
    }

    #[test]
    fn a_key_goes_only_where_the_operator_lets_it_go() {
        let listed = ["https://llm.example.com/openai/v1", "http://[fd00::1]:9000"];
        let addresses = Addresses::listed(listed).unwrap();
        for good in [
            OPENAI,
            "https://API.openai.com/v1/",
            "https://api.openai.com",
            "https://llm.example.com/openai/v1",
            "https://llm.example.com:443/openai/v1/?version=${OPENAI_API_KEY}",
            "http://[fd00::1]:9000/v1",
            "${FAPO_MODEL_URL}",
            "${FAPO_MODEL_URL}/v1",
        ] {
            assert!(admitted(&addresses, good), "{good}");
        }
        for bad in [
            "https://evil.example/v1",
            "http://api.openai.com/v1",
            "https://api.openai.com:8443/v1",
            "https://api.openai.com.evil.example/v1",
            "https://api.openai.com@evil.example/v1",
            "https://evil.example/${OPENAI_API_KEY}/v1",
            "https://${OPENAI_API_KEY}.evil.example/v1",
            "https://llm.example.com/v1",
            "https://llm.example.com/openai/v1/../../admin",
            "https://llm.example.com/openai/v1/%2e%2e/admin",
            "http://127.0.0.1:6379/v1",
            "http://localhost/v1",
            "http://169.254.169.254/latest",
            "http://[::1]:5432/v1",
            "http://2130706433/v1",
            "${FAPO_MODEL_URL}.evil.example/v1",
            "${FAPO_MODEL_URL}@evil.example/v1",
            "${FAPO_MODEL_URL}\\@evil.example/v1",
            "${FAPO_MODEL_SCHEME}//evil.example/v1",
            "${FAPO_MODEL_URL}/${OPENAI_API_KEY}",
            "http://10.0.0.7:${FAPO_MODEL_PORT}/v1",
            "${OPENAI_API_KEY}",
            "${NOT_SET}",
            "no address",
        ] {
            assert!(!admitted(&addresses, bad), "{bad}");
            assert!(
                bad == "no address" || admitted(&Addresses::any(), bad),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_entry_without_an_address_needs_no_leave() {
        let env: EnvLookup = Arc::new(|_| None);
        let spec = ModelSpec::named(Provider::Anthropic, "m");
        let addresses = Addresses::listed([]).unwrap();
        assert!(addresses.admit(&spec, "http://127.0.0.1:1/v1", None, &env));
    }

    #[test]
    fn what_is_listed_is_an_address_and_nothing_else() {
        for bad in [
            "",
            "*",
            "llm.example.com/v1",
            "ftp://llm.example.com/v1",
            "https://",
            "https://key@llm.example.com/v1",
            "https://llm.example.com/v1?key=x",
            "https://llm.example.com/v1#x",
            "${FAPO_MODEL_URL}",
        ] {
            let refused = Addresses::listed([bad]).expect_err(bad);
            assert_eq!(refused.text, bad);
        }
    }
}
