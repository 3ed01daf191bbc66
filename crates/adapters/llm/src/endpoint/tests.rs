use fapo_domain::clock::Timestamp;
use reqwest::header::HeaderValue;
use serde_json::json;

use super::*;

#[derive(Debug)]
struct At(i64);

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp(self.0)
    }
}

fn spec(value: serde_json::Value) -> ModelSpec {
    serde_json::from_value(value).unwrap()
}

fn open(value: serde_json::Value, env: &'static [(&str, &str)]) -> Result<Endpoint, ModelError> {
    let env: EnvLookup = Arc::new(move |name| {
        let found = env.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    });
    Endpoint::open("task", &spec(value), &env, &Addresses::any(), None)
}

#[test]
fn retry_after_is_read_in_all_its_forms() {
    let clock = At(784_111_770_000); // Sun, 06 Nov 1994 08:49:30 GMT
    let read = |name: &'static str, value: &'static str| {
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )]);
        retry_after(&headers, &clock)
    };
    assert_eq!(read("retry-after", "7"), Some(Duration::from_secs(7)));
    assert_eq!(
        read("retry-after", "0.25"),
        Some(Duration::from_millis(250))
    );
    assert_eq!(
        read("retry-after-ms", "1500"),
        Some(Duration::from_millis(1500))
    );
    assert_eq!(
        read("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
        Some(Duration::from_secs(7))
    );
    assert_eq!(
        read("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT"),
        Some(Duration::ZERO)
    );
    for nonsense in ["soon", "-1", "nan", "1e400", ""] {
        assert_eq!(read("retry-after", nonsense), None, "{nonsense}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), &clock), None);
}

#[test]
fn an_address_that_is_not_admitted_is_refused_before_a_key_is_looked_for() {
    let env: EnvLookup = Arc::new(|name| match name {
        "SECRET" => Some("sk-secret".to_owned()),
        other => panic!("{other} was looked for"),
    });
    let listed = Addresses::listed(["https://llm.example.com/v1"]).unwrap();
    let base_url = "https://evil.example/${SECRET}/v1";
    let spec = spec(json!({"provider": "openai", "model": "m", "base_url": base_url}));
    let refused = Endpoint::open("task", &spec, &env, &listed, None).map(|_| ());
    let refused = refused.expect_err("it is not listed");
    assert!(matches!(&refused, ModelError::Config { .. }), "{refused:?}");
    let said = refused.to_string();
    assert!(said.contains(base_url), "{said}");
    assert!(!said.contains("sk-secret"), "{said}");
}

#[test]
fn addresses_are_expanded_and_completed() {
    let url = |base: &str| {
        let env: EnvLookup = Arc::new(|name| match name {
            "HOST" => Some(" 127.0.0.1:1 ".to_owned()),
            "SECRET" => Some("no address but a secret".to_owned()),
            _ => None,
        });
        let spec = spec(json!({"provider": "openai", "model": "m", "base_url": base}));
        Endpoint::open("task", &spec, &env, &Addresses::any(), None)
            .map(|endpoint| endpoint.url.to_string())
    };
    let full = "http://127.0.0.1:1/v1/chat/completions";
    assert_eq!(url("http://${HOST}/v1").unwrap(), full);
    assert_eq!(url("http://127.0.0.1:1/v1/").unwrap(), full);
    assert_eq!(url("http://127.0.0.1:1").unwrap(), full);
    assert_eq!(
        url("https://gateway.test/openai/v4").unwrap(),
        "https://gateway.test/openai/v4/chat/completions"
    );
    for (bad, what) in [
        ("http://${NOWHERE}/v1", "NOWHERE is not set"),
        ("http://${HOST", "without `}`"),
        ("not a url", "is not a URL"),
        ("ftp://x/v1", "neither http nor https"),
        ("http://me:secret@x/v1", "does not belong"),
        ("${SECRET}", "${SECRET} is not a URL"),
    ] {
        let message = url(bad).unwrap_err().to_string();
        assert!(message.contains(what), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
}

#[test]
fn keys_are_needed_where_they_are_and_only_there() {
    let official = json!({"provider": "openai", "model": "m"});
    assert!(matches!(
        open(official.clone(), &[]),
        Err(ModelError::NoKey { variable, .. }) if variable == "OPENAI_API_KEY"
    ));
    assert!(open(official, &[("OPENAI_API_KEY", "k\n")]).is_ok());
    let spelled_out =
        json!({"provider": "openai", "model": "m", "base_url": "https://api.openai.com"});
    assert!(matches!(
        open(spelled_out, &[]),
        Err(ModelError::NoKey { .. })
    ));
    let local = json!({"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"});
    assert!(open(local, &[]).unwrap().key.is_none());
    let named = json!({"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1", "api_key_env": "MINE"});
    assert!(
        matches!(open(named.clone(), &[]), Err(ModelError::NoKey { variable, .. }) if variable == "MINE")
    );
    assert!(open(named, &[("MINE", "k")]).unwrap().key.is_some());
    let anthropic = json!({"provider": "anthropic", "model": "m"});
    assert!(matches!(
        open(anthropic, &[("ANTHROPIC_API_KEY", " ")]),
        Err(ModelError::NoKey { .. })
    ));
    let sim = json!({"provider": "sim", "model": "m"});
    assert!(matches!(open(sim, &[]), Err(ModelError::Config { .. })));
    let broken = json!({"provider": "openai", "model": "m"});
    let error = open(broken, &[("OPENAI_API_KEY", "ab\u{7}cd")])
        .err()
        .unwrap();
    assert!(error.is_configuration());
    assert!(!format!("{error:?}").contains("cd"));
}
