//! A session over a command-line program: one process group per prompt, held by the sandbox, paid through the relay.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fapo_domain::clock::{Clock, Timestamp};
use fapo_domain::hash::Hasher;
use fapo_domain::model::proposal::LintFinding;
use fapo_domain::model::session::{SessionEnd, SessionRecord};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::money::{MicroUsd, Spend};
use fapo_domain::ports::agents::{
    AgentError, AgentRequest, AgentSession, AgentTools, AgentTurn, CodingAgent, SessionFiles,
};
use fapo_domain::ports::relay::{Relay, RelayGrant, Relays};
use fapo_domain::ports::sandbox::{
    Confinement, Forward, Mount, ProcessLimits, ProcessSpec, Sandbox,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::cli::{Asked, Call, Cli, MOST_REFUSED, Report};
use super::folder::{Folder, Gathered, PIPELINE, put_home};
use super::follow::{Watch, ended_with};
use super::transcript::Transcript;
use crate::observe;

/// Largest file a session may write.
const MOST_FILE: u64 = 64 * 1024 * 1024;
/// Most processes and threads of a session.
const MOST_PROCESSES: u64 = 512;

/// What sessions are made with.
#[derive(Clone)]
pub struct AgentParts {
    /// Holds the process.
    pub sandbox: Arc<dyn Sandbox>,
    /// Its way to the model.
    pub relays: Arc<dyn Relays>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where sessions have their folders; only its owner may look into it.
    pub scratch: PathBuf,
}

/// A coding agent over a program.
pub struct CliAgent<C> {
    cli: Arc<C>,
    parts: AgentParts,
}

impl<C: Cli> CliAgent<C> {
    /// An agent.
    pub fn new(cli: C, parts: AgentParts) -> Self {
        Self {
            cli: Arc::new(cli),
            parts,
        }
    }
}

#[async_trait]
impl<C: Cli> CodingAgent for CliAgent<C> {
    fn name(&self) -> &'static str {
        self.cli.name()
    }

    async fn open(&self, request: AgentRequest) -> Result<Box<dyn AgentSession>, AgentError> {
        let confinement = self.parts.sandbox.confinement().await?;
        let scratch = self.parts.scratch.clone();
        let (name, tree) = (request.id.short(), request.tree.clone());
        let folder = blocking(move || Folder::lay(&scratch, &name, &tree))
            .await
            .map_err(|source| AgentError::Files {
                what: format!(
                    "the session's folder in {} cannot be made",
                    self.parts.scratch.display()
                ),
                source,
            })?;
        let grant = RelayGrant {
            entry: request.entry.clone(),
            model: request.model.clone(),
            job: request.job,
            fence: request.fence,
            role: request.role,
            cost: request.limits.cost,
            requests: None,
        };
        let relay = self.parts.relays.open(grant, &folder.run()).await?;
        let mut prompts = Hasher::new("session-prompts/v1");
        prompts.part(request.system.as_bytes());
        Ok(Box::new(Session {
            cli: Arc::clone(&self.cli),
            parts: self.parts.clone(),
            confinement,
            opened: Instant::now(),
            started_at: self.parts.clock.now(),
            run: folder.run(),
            files: Arc::new(Files { folder }),
            relay,
            request,
            tools: None,
            transcript: Transcript::default(),
            prompts,
            sent: 0,
            worked: Duration::ZERO,
            written: 0,
            total: Report::default(),
            end: SessionEnd::NoAnswer,
            first_request_ms: None,
            harvest_us: 0,
            peak_memory: None,
        }))
    }
}

/// A session's files; the folder goes when the last of these is dropped.
struct Files {
    folder: Folder,
}

impl Files {
    async fn gather(&self) -> Result<Gathered, AgentError> {
        let work = self.folder.work();
        blocking(move || Folder::gather(&work))
            .await
            .map_err(|source| AgentError::Files {
                what: "the session's files cannot be read".to_owned(),
                source,
            })
    }
}

#[async_trait]
impl SessionFiles for Files {
    async fn tree(&self) -> Result<(VariantTree, Vec<LintFinding>), AgentError> {
        let gathered = self.gather().await?;
        Ok((gathered.tree, gathered.refusals))
    }
}

struct Session<C> {
    cli: Arc<C>,
    parts: AgentParts,
    confinement: Confinement,
    opened: Instant,
    started_at: Timestamp,
    run: PathBuf,
    relay: Box<dyn Relay>,
    files: Arc<Files>,
    request: AgentRequest,
    tools: Option<AgentTools>,
    transcript: Transcript,
    prompts: Hasher,
    sent: u32,
    /// Time that prompts took so far.
    worked: Duration,
    /// Bytes that the program wrote so far.
    written: u64,
    total: Report,
    end: SessionEnd,
    first_request_ms: Option<u64>,
    harvest_us: u64,
    peak_memory: Option<u64>,
}

/// Where a session's folders are inside.
struct Inside {
    home: PathBuf,
    work: PathBuf,
    run: PathBuf,
}

impl<C: Cli> Session<C> {
    /// With namespaces of its own a session sees short, always equal paths; without, there is no other place than the real.
    fn inside(&self) -> Inside {
        let folder = &self.files.folder;
        if self.confinement.namespaces {
            Inside {
                home: PathBuf::from("/session/home"),
                work: PathBuf::from("/session/work"),
                run: PathBuf::from("/session/run"),
            }
        } else {
            Inside {
                home: folder.home(),
                work: folder.work(),
                run: folder.run(),
            }
        }
    }

    fn spec(&self, inside: &Inside, call: &Call, wall: Duration) -> ProcessSpec {
        let folder = &self.files.folder;
        let mount = |host: PathBuf, inside: PathBuf| Mount { host, inside };
        let mut read_only = self.cli.installed().mounts.clone();
        read_only.push(mount(folder.work(), inside.work.clone()));
        read_only.push(mount(folder.run(), inside.run.clone()));
        let mut writable = vec![mount(folder.home(), inside.home.clone())];
        if self.request.writable {
            writable.push(mount(folder.pipeline(), inside.work.join(PIPELINE)));
        }
        let (variable, address) = self.cli.endpoint();
        let (program, args) = self.cli.installed().command(call.args.iter().cloned());
        let mut env = vec![
            ("HOME".to_owned(), inside.home.display().to_string()),
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ];
        env.extend(call.env.iter().cloned());
        ProcessSpec {
            program,
            args,
            env,
            cwd: inside.work.clone(),
            read_only,
            writable,
            forwards: vec![Forward {
                socket: self.relay.socket().to_owned(),
                variable: variable.to_owned(),
                address: address.to_owned(),
            }],
            limits: ProcessLimits {
                wall: Some(wall),
                cpu_seconds: None,
                // the programs reserve far more address space than they use
                memory_bytes: None,
                file_bytes: Some(MOST_FILE),
                open_files: Some(4096),
                processes: Some(MOST_PROCESSES),
            },
        }
    }

    fn call(&self, inside: &Inside, text: &str, turns: u32) -> Call {
        let (program, mut bridge) = self.parts.sandbox.bridge();
        bridge.insert(0, program.display().to_string());
        if let Some(tools) = &self.tools
            && let Some(name) = tools.socket.file_name()
        {
            bridge.push(inside.run.join(name).display().to_string());
        }
        self.cli.call(&Asked {
            request: &self.request,
            text,
            turns,
            conversation: self.total.conversation.as_deref(),
            tools: self.tools.as_ref(),
            bridge,
            home: &inside.home,
        })
    }
}

#[async_trait]
impl<C: Cli> AgentSession for Session<C> {
    fn socket_folder(&self) -> &Path {
        &self.run
    }

    fn files(&self) -> Arc<dyn SessionFiles> {
        Arc::clone(&self.files) as Arc<dyn SessionFiles>
    }

    fn attach(&mut self, tools: AgentTools) {
        self.tools = Some(tools);
    }

    async fn prompt(
        &mut self,
        text: &str,
        turns: u32,
        stop: &CancellationToken,
    ) -> Result<AgentTurn, AgentError> {
        let (program, began) = (self.cli.name(), Instant::now());
        let span = observe::invoke(program, &self.request, text);
        let turn = self.ask(text, turns, stop).instrument(span.clone()).await;
        observe::invoked(&span, program, &turn, began.elapsed());
        turn
    }

    async fn close(self: Box<Self>) -> Result<SessionRecord, AgentError> {
        let this = *self;
        let before = this.relay.used();
        // The record must not be lost with it. What could not be settled stays reserved, and counts as lost when the claim ends.
        let used = this.relay.close().await.unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                session = %this.request.id,
                error,
                "not all that a session spent could be settled"
            );
            before
        });
        let mut refused = this.total.refused;
        refused.extend(used.refused);
        refused.truncate(MOST_REFUSED);
        Ok(SessionRecord {
            id: this.request.id,
            job: this.request.job,
            task: this.request.fence.task,
            role: this.request.role,
            agent: this.cli.name().to_owned(),
            version: this.total.version,
            model: this.request.model.model.clone(),
            confinement: this.confinement,
            prompt_hash: this.prompts.finish(),
            started_at: this.started_at,
            ended_at: this.parts.clock.now(),
            end: this.end,
            prompts: this.sent,
            turns: this.total.turns,
            tool_calls: this.total.tool_calls,
            refused,
            spend: used.spend,
            first_request_ms: this.first_request_ms,
            harvest_us: this.harvest_us,
            peak_memory: this.peak_memory,
            transcript: None,
            transcript_text: this.transcript.finish(),
        })
    }
}

impl<C: Cli> Session<C> {
    /// Gives the agent one prompt and follows it to its end.
    async fn ask(
        &mut self,
        text: &str,
        turns: u32,
        stop: &CancellationToken,
    ) -> Result<AgentTurn, AgentError> {
        let before = self.relay.used();
        self.prompts.part(text.as_bytes());
        self.sent += 1;
        let at = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.transcript.add(at, "fapo", text.as_bytes());
        let inside = self.inside();
        let call = self.call(&inside, text, turns);
        let home = self.files.folder.home();
        let files = call.home.clone();
        blocking(move || put_home(&home, &files))
            .await
            .map_err(|source| AgentError::Files {
                what: "the session's home cannot be written".to_owned(),
                source,
            })?;
        let wall = self.request.limits.wall.saturating_sub(self.worked);
        let spec = self.spec(&inside, &call, wall);
        let began = Instant::now();
        let mut process = self.parts.sandbox.spawn(spec).await?;
        let mut reader = self.cli.reader();
        let most_replies =
            (!self.cli.counts_turns()).then(|| before.spend.model_calls + u64::from(turns));
        let streams = process
            .streams()
            .expect("a process that was just started has its streams");
        let mut watch = Watch {
            name: self.cli.name(),
            opened: self.opened,
            transcript: &mut self.transcript,
            written: &mut self.written,
            relay: &*self.relay,
            most_replies,
            stop,
        };
        let mut followed = watch
            .follow(&mut *process, streams, call.stdin, &mut *reader)
            .await?;
        let ended = Instant::now();
        self.worked += ended - began;
        self.peak_memory = self.peak_memory.max(process.peak_memory());
        let used = self.relay.used();
        if self.first_request_ms.is_none() {
            let start = u64::try_from((began - self.opened).as_millis()).unwrap_or(0);
            self.first_request_ms = used.first_request_ms.map(|ms| ms.saturating_sub(start));
        }
        let mut report = reader.finish();
        if let Some(most) = most_replies {
            let replies = used.spend.model_calls - before.spend.model_calls;
            report.turns = u32::try_from(replies).unwrap_or(u32::MAX);
            // also where it was the last one: the end must not hang on which line came first
            if used.spend.model_calls > most && followed.cut.is_none() {
                followed.cut = Some(SessionEnd::OutOfTurns);
            }
        }
        let gathered = self.files.gather().await?;
        self.harvest_us += u64::try_from(ended.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.add(&report);
        let end = ended_with(&report, &followed, &used).inspect_err(|error| {
            let message = error.to_string();
            self.end = SessionEnd::Failed { message };
        })?;
        self.end = end.clone();
        let answer = matches!(end, SessionEnd::Answered)
            .then_some(report.answer)
            .flatten();
        Ok(AgentTurn {
            end,
            answer,
            tree: gathered.tree,
            refusals: gathered.refusals,
            spend: since(&used.spend, &before.spend),
        })
    }
}

impl<C> Session<C> {
    fn add(&mut self, report: &Report) {
        let total = &mut self.total;
        if report.conversation.is_some() {
            total.conversation.clone_from(&report.conversation);
        }
        if report.version.is_some() {
            total.version.clone_from(&report.version);
        }
        total.turns += report.turns;
        for (name, count) in &report.tool_calls {
            total.count_tools(name, *count);
        }
        for refusal in &report.refused {
            total.note_refusal(refusal.clone());
        }
    }
}

fn since(now: &Spend, before: &Spend) -> Spend {
    let mut spend = *now;
    spend.cost = MicroUsd(now.cost.0.saturating_sub(before.cost.0));
    spend.model_calls = now.model_calls.saturating_sub(before.model_calls);
    let (usage, earlier) = (&mut spend.usage, &before.usage);
    usage.input_tokens = usage.input_tokens.saturating_sub(earlier.input_tokens);
    usage.output_tokens = usage.output_tokens.saturating_sub(earlier.output_tokens);
    usage.cached_input_tokens = usage
        .cached_input_tokens
        .saturating_sub(earlier.cached_input_tokens);
    usage.reasoning_tokens = usage
        .reasoning_tokens
        .saturating_sub(earlier.reasoning_tokens);
    spend
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests;
