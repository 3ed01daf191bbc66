//! Coding agents: their programs, their keys, what holds a session, and what it may see.

use std::path::Path;

use fapo_diagnosis::agent::Installed;
use fapo_domain::model::project::ProposerBackend;
use fapo_domain::ports::sandbox::{Confinement, Sandbox};

use super::finding::{Finding, Level};
use super::held;
use super::models::{key, reach, variable};
use crate::cli::advice::{WITHOUT_AGENT, explain};
use crate::config::Env;
use crate::wiring;
use crate::wiring::agents::{Wanted, program};

/// What differs between the programs.
struct Program {
    /// What people call it.
    name: &'static str,
    /// The oldest version that fapo was tried with.
    least: Version,
    /// The command that installs it.
    install: &'static str,
    /// Where it keeps a login, in the user's home.
    login: &'static str,
}

const fn about(backend: ProposerBackend) -> Program {
    match backend {
        ProposerBackend::Codex => Program {
            name: "Codex",
            least: Version(0, 169, 0),
            install: "npm install -g @openai/codex",
            login: ".codex/auth.json",
        },
        ProposerBackend::ClaudeCode
        | ProposerBackend::Catalogue
        | ProposerBackend::Reflect
        | ProposerBackend::Replay => Program {
            name: "Claude Code",
            least: Version(2, 1, 330),
            install: "npm install -g @anthropic-ai/claude-code",
            login: ".claude/.credentials.json",
        },
    }
}

/// Looks at everything that these agents need. Starts their programs in the sandbox to ask for the version; calls no model.
pub async fn look(env: &Env, dir: &Path, wanted: &[Wanted]) -> Vec<Finding> {
    // a mode that is not understood was told before
    let Ok(sandbox) = wiring::sandbox::sandbox(env, dir) else {
        return Vec::new();
    };
    let confinement = sandbox.confinement().await;
    let mut findings = vec![match &confinement {
        Ok(confinement) => held_by(confinement),
        Err(error) => Finding::missing(
            "sandbox",
            explain(&anyhow::Error::msg(error.to_string())),
            "docs/sandbox.md says what it needs; fapo refuses agents without one",
        ),
    }];
    let sandbox = confinement.is_ok().then_some(&*sandbox as &dyn Sandbox);
    for (at, agent) in wanted.iter().enumerate() {
        let before = &wanted[..at];
        if before.iter().all(|other| other.backend != agent.backend) {
            findings.push(installed(env, agent.backend, sandbox).await);
        }
        let variable = variable(&agent.model);
        let told = |other: &Wanted| {
            other.backend == agent.backend && super::models::variable(&other.model) == variable
        };
        if !before.iter().any(told) {
            findings.push(paid(env, agent));
        }
    }
    if let (Some(sandbox), Ok(confinement)) = (sandbox, &confinement) {
        findings.push(match held::tools(sandbox).await {
            Ok(took) => Finding::fine(
                "session tools",
                format!(
                    "reached from inside the sandbox, there and back in {} ms",
                    took.as_millis()
                ),
            ),
            Err(why) => Finding::missing(
                "session tools",
                format!("cannot be reached from inside the sandbox: {why}"),
                "docs/sandbox.md says what holds a session, docs/session-tools.md how it reaches its tools",
            ),
        });
        findings.extend(sees(confinement));
    }
    findings
}

fn held_by(confinement: &Confinement) -> Finding {
    if confinement.namespaces {
        Finding::fine("sandbox", confinement.detail.clone())
    } else {
        Finding::note(
            "sandbox",
            confinement.detail.clone(),
            "docs/sandbox.md says what holds then and what does not",
        )
    }
}

/// The program and its version.
async fn installed(env: &Env, backend: ProposerBackend, sandbox: Option<&dyn Sandbox>) -> Finding {
    let about = about(backend);
    let what = backend.as_str();
    let found = match program(backend, env) {
        Ok(found) => found,
        Err(missing) => return Finding::missing(what, missing.to_string(), WITHOUT_AGENT),
    };
    let place = found.program.display().to_string();
    match sandbox {
        None => Finding::note(
            what,
            format!("{place}; its version was not asked for without a sandbox"),
            "mend the sandbox first",
        ),
        Some(sandbox) => versioned(&about, what, &place, &found, sandbox).await,
    }
}

async fn versioned(
    about: &Program,
    what: &str,
    place: &str,
    found: &Installed,
    sandbox: &dyn Sandbox,
) -> Finding {
    let said = match held::version(sandbox, found).await {
        Ok(said) => said,
        Err(why) => {
            return Finding::missing(
                what,
                format!("{place} does not run in the sandbox: {why}"),
                about.install,
            );
        }
    };
    let Program { name, least, .. } = about;
    match Version::find(&said) {
        Some(version) if version >= *least => {
            Finding::fine(what, format!("{name} {version} ({place})"))
        }
        Some(version) => Finding::note(
            what,
            format!("{name} {version} ({place}) is older than {least}, with which fapo was tried"),
            about.install,
        ),
        None => Finding::note(
            what,
            format!("{place} says {said:?} and no version; fapo was tried with {name} {least}"),
            about.install,
        ),
    }
}

/// The key.
fn paid(env: &Env, agent: &Wanted) -> Finding {
    let what = format!("{} key", agent.backend.as_str());
    let mut finding = key(&what, &agent.model, &|name| env.get(name).is_some());
    if finding.level == Level::Missing {
        let about = about(agent.backend);
        let has_login = env
            .get("HOME")
            .is_some_and(|home| Path::new(home).join(about.login).is_file());
        let login = if has_login {
            format!(" (the login in ~/{} is not used)", about.login)
        } else {
            String::new()
        };
        finding.detail = format!(
            "{}{login}; sessions need a key: fapo's relay holds it, and a session sees neither key nor login",
            finding.detail
        );
    }
    finding
}

/// The endpoints of those models that no entry of `models:` tells of anyway.
pub async fn endpoints(env: &Env, wanted: &[Wanted]) -> Vec<Finding> {
    let proxy = env.get("HTTPS_PROXY").or_else(|| env.get("https_proxy"));
    let address = |name: &str| env.get(name).map(str::to_owned);
    let mut findings: Vec<Finding> = Vec::new();
    for agent in wanted {
        let what = format!("{} endpoint", agent.backend.as_str());
        let told = findings.iter().any(|finding| finding.what == what);
        // a model of that name has the provider's usual endpoint, and an entry its own
        if !told && agent.model.base_url.is_none() {
            findings.push(reach(&what, &agent.model, &address, proxy).await);
        }
    }
    findings
}

/// What a session may see and do, in short; docs/agents.md has the whole table.
fn sees(confinement: &Confinement) -> Vec<Finding> {
    let fine = |what: &str, detail: &str| Finding::fine(what, detail.to_owned());
    let open = |detail: &str| {
        Finding::note(
            "a session is not kept from",
            detail.to_owned(),
            "docs/sandbox.md, \"Without namespaces\"",
        )
    };
    let writes =
        "its pipeline files (a reviewer's cannot be written), a home of its own, a private /tmp";
    let mut findings = vec![
        fine("a session may write", writes),
        fine(
            "a session may read",
            "the system's programs and libraries, the agent's own program",
        ),
        fine(
            "a session may reach",
            "its model through fapo's relay, which adds the key and counts the money; its tools, which answer for train",
        ),
    ];
    match (confinement.namespaces, confinement.landlock_abi) {
        (true, _) => findings.push(fine(
            "a session never sees",
            "the project folder, the store, validation and test cases, your home, the key, other processes, the network",
        )),
        (false, 0) => {
            findings.truncate(0);
            findings.push(open(
                "anything that you may do: read and write your files, the store, the network",
            ));
        }
        // Landlock knows TCP from its fourth version on
        (false, 1..=3) => findings.push(open(
            "the network, Unix sockets and the list of processes; files are closed but for the above",
        )),
        (false, _) => findings.push(open(
            "UDP, Unix sockets and the list of processes; files and TCP are closed but for the above",
        )),
    }
    findings
}

/// Three numbers, as in `2.1.330`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl Version {
    /// The first word that is one, in what a program says of itself.
    fn find(said: &str) -> Option<Self> {
        said.split_whitespace().find_map(|word| {
            let mut numbers = word.trim_start_matches('v').splitn(3, '.');
            let mut next = || {
                let digits = numbers.next()?;
                let end = digits.find(|c: char| !c.is_ascii_digit());
                digits[..end.unwrap_or(digits.len())].parse().ok()
            };
            Some(Self(next()?, next()?, next()?))
        })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::model::project::{ModelSpec, Provider};

    use super::*;

    #[test]
    fn a_version_is_found_in_what_programs_say() {
        for (said, found) in [
            ("2.1.330 (Claude Code)", Some(Version(2, 1, 330))),
            ("codex-cli 0.169.0", Some(Version(0, 169, 0))),
            ("v1.2.3-beta.4", Some(Version(1, 2, 3))),
            ("usage: claude", None),
            ("2.1", None),
        ] {
            assert_eq!(Version::find(said), found, "{said}");
        }
        assert!(Version(2, 1, 99) < Version(2, 1, 330), "numbers, not texts");
    }

    #[test]
    fn a_login_alone_is_told_to_be_of_no_use() {
        let home = tempfile::tempdir().unwrap();
        let agent = Wanted {
            role: fapo_domain::money::SpendRole::Proposer,
            backend: ProposerBackend::ClaudeCode,
            entry: "proposer".to_owned(),
            model: ModelSpec::named(Provider::Anthropic, "opus"),
        };
        let said = |pairs: &[(&str, &str)]| {
            let env = Env::from_pairs(pairs.iter().copied());
            paid(&env, &agent)
        };
        let path = home.path().to_str().unwrap();
        let without = said(&[("HOME", path)]);
        assert_eq!(without.level, Level::Missing);
        assert!(without.detail.contains("relay holds it"), "{without:?}");
        assert!(!without.detail.contains("the login in"), "{without:?}");
        std::fs::create_dir(home.path().join(".claude")).unwrap();
        std::fs::write(home.path().join(".claude/.credentials.json"), "{}").unwrap();
        let with = said(&[("HOME", path)]);
        assert!(with.detail.contains("the login in ~/.claude"), "{with:?}");
        let keyed = said(&[("HOME", path), ("ANTHROPIC_API_KEY", "sk-secret")]);
        assert_eq!(keyed.level, Level::Ok);
        assert!(!format!("{keyed:?}").contains("sk-secret"));
    }
}
