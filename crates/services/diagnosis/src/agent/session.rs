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
use fapo_domain::ports::relay::{Relay, RelayGrant, RelayUse, Relays};
use fapo_domain::ports::sandbox::{
    Confinement, Forward, Mount, ProcessExit, ProcessLimits, ProcessSpec, Sandbox,
    SandboxedProcess, Streams,
};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use super::folder::{Folder, Gathered, PIPELINE};
use super::lines::{LONGEST_LINE, Line, Lines};
use super::program::Installed;
use super::transcript::Transcript;

/// Most bytes a program may write to its standard output and error in a session.
const MOST_OUTPUT: u64 = 64 * 1024 * 1024;
/// What is kept of the last lines on standard error, for messages.
const ERROR_TAIL: usize = 1_000;
/// Most notes of refusals kept.
const MOST_REFUSED: usize = 50;
/// Most names of tools counted.
const MOST_TOOLS: usize = 100;
/// Largest file a session may write.
const MOST_FILE: u64 = 64 * 1024 * 1024;
/// Most processes and threads of a session.
const MOST_PROCESSES: u64 = 512;

/// How often a program that does not count its turns is looked at while it writes nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

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

/// What one prompt is to be run with, in terms that each program translates.
pub struct Asked<'a> {
    /// The session.
    pub request: &'a AgentRequest,
    /// The text.
    pub text: &'a str,
    /// Most turns.
    pub turns: u32,
    /// The conversation to go on with, as the program named it.
    pub conversation: Option<&'a str>,
    /// Its tools.
    pub tools: Option<&'a AgentTools>,
    /// The command that joins standard streams to a socket, with the socket's path inside as its last argument.
    pub bridge: Vec<String>,
    /// The session's HOME, inside.
    pub home: &'a Path,
    /// Money left.
    pub cost: Option<MicroUsd>,
}

/// How a program is called for a prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, beside HOME, PATH and the relay's address.
    pub env: Vec<(String, String)>,
    /// What it reads from standard input.
    pub stdin: String,
    /// Files to be put into its HOME, by relative path; readable by their owner only.
    pub home: Vec<(String, String)>,
}

/// What a program's lines came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// What the conversation can be continued under.
    pub conversation: Option<String>,
    /// The program's version.
    pub version: Option<String>,
    /// Turns of the model.
    pub turns: u32,
    /// Calls of tools, by name in order of first use.
    pub tool_calls: Vec<(String, u32)>,
    /// What was refused to it, in words.
    pub refused: Vec<String>,
    /// What it answered with.
    pub answer: Option<Value>,
    /// How it ended, as far as its lines say.
    pub outcome: Outcome,
}

impl Report {
    /// Counts a call of a tool.
    pub fn count_tool(&mut self, name: &str) {
        self.count_tools(name, 1);
    }

    fn count_tools(&mut self, name: &str, calls: u32) {
        if let Some((_, count)) = self.tool_calls.iter_mut().find(|(known, _)| known == name) {
            *count += calls;
        } else if self.tool_calls.len() < MOST_TOOLS {
            self.tool_calls.push((name.to_owned(), calls));
        }
    }

    /// Notes a refusal.
    pub fn note_refusal(&mut self, what: String) {
        if self.refused.len() < MOST_REFUSED {
            self.refused.push(what);
        }
    }
}

/// How a program's lines ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Outcome {
    /// They broke off: no last word.
    #[default]
    BrokenOff,
    /// It is done; whether with an answer is another matter.
    Done,
    /// Its turns were used up.
    OutOfTurns,
    /// Its money was used up, by its own count.
    OutOfMoney,
    /// The provider failed.
    Provider {
        /// The HTTP status, where there was one.
        status: Option<u16>,
        /// What was said, in one line.
        message: String,
    },
    /// It failed by itself.
    Failed {
        /// What was said, in one line.
        message: String,
    },
}

/// Reads a program's lines, in order.
pub trait Reader: Send {
    /// Takes in a line. True when nothing good can come any more and the program is to be ended.
    fn read(&mut self, line: &[u8]) -> bool;

    /// What they came to.
    fn finish(&mut self) -> Report;
}

/// What differs between the programs.
pub trait Cli: Send + Sync + 'static {
    /// Its name in records.
    fn name(&self) -> &'static str;

    /// The program.
    fn installed(&self) -> &Installed;

    /// How the address of its model's endpoint is handed to it: a variable, and the address with `{port}`.
    fn endpoint(&self) -> (&'static str, &'static str);

    /// The call for a prompt.
    fn call(&self, asked: &Asked<'_>) -> Call;

    /// A reader for one prompt's lines.
    fn reader(&self) -> Box<dyn Reader>;

    /// Whether the program keeps the bound of turns by itself and its lines tell them. Where not, the replies that went
    /// through the relay are counted, and the program is ended after one too many.
    fn counts_turns(&self) -> bool {
        true
    }
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
            harvest_ms: 0,
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
    harvest_ms: u64,
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
        let installed = self.cli.installed();
        let mut args = Vec::new();
        let program = match &installed.interpreter {
            Some(interpreter) => {
                args.push(installed.program.display().to_string());
                interpreter.clone()
            }
            None => installed.program.clone(),
        };
        args.extend(call.args.iter().cloned());
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
            cost: self
                .request
                .limits
                .cost
                .map(|cap| MicroUsd(cap.0.saturating_sub(self.relay.used().spend.cost.0))),
        })
    }

    fn note(&mut self, from: &str, bytes: &[u8]) {
        let at = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.transcript.add(at, from, bytes);
    }

    /// Follows a program to its end: feeds it, reads its lines, ends it where a bound or `stop` says so.
    async fn follow(
        &mut self,
        process: &mut dyn SandboxedProcess,
        streams: Streams,
        stdin: String,
        reader: &mut dyn Reader,
        most_replies: Option<u64>,
        stop: &CancellationToken,
    ) -> Result<Followed, AgentError> {
        let Streams {
            stdin: mut input,
            stdout,
            stderr,
        } = streams;
        // on its own: a program that does not read must not keep its output from being read
        let feeding = tokio::spawn(async move {
            // a program that ended without reading is told by its lines
            let _ = input.write_all(stdin.as_bytes()).await;
            let _ = input.shutdown().await;
        });
        let _fed = AbortOnDrop(feeding);
        let mut output = Lines::new(stdout, LONGEST_LINE);
        let mut errors = Lines::new(stderr, LONGEST_LINE);
        let (mut output_open, mut errors_open) = (true, true);
        let mut followed = Followed::default();
        // a program may go on without writing a line
        let mut look = tokio::time::interval(LOOK_EVERY);
        while output_open || errors_open {
            if most_replies.is_some_and(|most| self.relay.used().spend.model_calls > most) {
                followed.cut = Some(SessionEnd::OutOfTurns);
                break;
            }
            let (line, from) = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    followed.cut = Some(SessionEnd::Cancelled);
                    break;
                }
                line = output.next(), if output_open => (line, Source::Output),
                line = errors.next(), if errors_open => (line, Source::Errors),
                exit = process.wait(), if followed.exit.is_none() => {
                    // nothing of the group is left, so both streams end
                    followed.exit = Some(exit?);
                    continue;
                }
                _ = look.tick(), if most_replies.is_some() => continue,
            };
            // a pipe that fails has nothing more to say, like one that ended
            let line = line.ok().flatten();
            let Some(line) = line else {
                match from {
                    Source::Output => output_open = false,
                    Source::Errors => errors_open = false,
                }
                continue;
            };
            self.written += line.size();
            if self.written > MOST_OUTPUT {
                followed.cut = Some(SessionEnd::Flooded);
                break;
            }
            let (Line::Whole { bytes, .. } | Line::TooLong { start: bytes, .. }) = &line;
            match from {
                Source::Output => {
                    self.note(self.cli.name(), bytes);
                    // half a line is no event
                    if matches!(line, Line::Whole { ended: true, .. }) && reader.read(bytes) {
                        break;
                    }
                }
                Source::Errors => {
                    self.note("stderr", bytes);
                    followed.say(bytes);
                }
            }
        }
        if followed.exit.is_none() {
            let asked_for = followed.cut.is_some() || output_open;
            let exit = if asked_for {
                process.kill().await?
            } else {
                process.wait().await?
            };
            followed.exit = Some(exit);
        }
        Ok(followed)
    }
}

#[derive(Clone, Copy)]
enum Source {
    Output,
    Errors,
}

/// How a program was followed to its end.
#[derive(Debug, Default)]
struct Followed {
    exit: Option<ProcessExit>,
    /// Why it was cut off from here, where it was.
    cut: Option<SessionEnd>,
    /// The end of its standard error.
    errors: String,
}

impl Followed {
    fn say(&mut self, bytes: &[u8]) {
        if !self.errors.is_empty() {
            self.errors.push(' ');
        }
        self.errors.push_str(String::from_utf8_lossy(bytes).trim());
        if self.errors.len() > ERROR_TAIL {
            let mut at = self.errors.len() - ERROR_TAIL;
            while !self.errors.is_char_boundary(at) {
                at += 1;
            }
            self.errors.drain(..at);
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
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
        let before = self.relay.used();
        self.prompts.part(text.as_bytes());
        self.sent += 1;
        self.note("fapo", text.as_bytes());
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
        let mut followed = self
            .follow(
                &mut *process,
                streams,
                call.stdin,
                &mut *reader,
                most_replies,
                stop,
            )
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
        self.harvest_ms += u64::try_from(ended.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.add(&report);
        let end = ended_with(&report, &followed, &used)?;
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

    async fn close(self: Box<Self>) -> Result<SessionRecord, AgentError> {
        let this = *self;
        let used = this.relay.close().await?;
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
            harvest_ms: this.harvest_ms,
            peak_memory: this.peak_memory,
            transcript: None,
            transcript_text: this.transcript.finish(),
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

/// What a prompt's end was, from what was seen from outside first and from the program's own words last.
fn ended_with(
    report: &Report,
    followed: &Followed,
    used: &RelayUse,
) -> Result<SessionEnd, AgentError> {
    if let Some(cut) = &followed.cut {
        return Ok(cut.clone());
    }
    if matches!(followed.exit, Some(ProcessExit::TimedOut)) {
        return Ok(SessionEnd::OutOfTime);
    }
    Ok(match &report.outcome {
        Outcome::Done if report.answer.is_some() => SessionEnd::Answered,
        _ if used.out_of_money => SessionEnd::OutOfMoney,
        Outcome::Done => SessionEnd::NoAnswer,
        Outcome::OutOfTurns => SessionEnd::OutOfTurns,
        Outcome::OutOfMoney => SessionEnd::OutOfMoney,
        Outcome::Provider { status, message } => match status {
            // its own request was wrong: the same again would be, too
            Some(400 | 413 | 422) => SessionEnd::Failed {
                message: message.clone(),
            },
            _ => {
                return Err(AgentError::Provider {
                    message: message.clone(),
                    configuration: matches!(status, Some(401..=404)),
                });
            }
        },
        Outcome::Failed { message } => SessionEnd::Failed {
            message: message.clone(),
        },
        Outcome::BrokenOff => {
            let how = match followed.exit {
                Some(ProcessExit::Code { code }) => format!("exit code {code}"),
                Some(ProcessExit::Signal { signal }) => format!("signal {signal}"),
                Some(ProcessExit::TimedOut | ProcessExit::Killed) | None => "killed".to_owned(),
            };
            let said = if followed.errors.is_empty() {
                "nothing on standard error"
            } else {
                followed.errors.as_str()
            };
            SessionEnd::Failed {
                message: format!("it ended without a last word ({how}; {said})"),
            }
        }
    })
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

fn put_home(home: &Path, files: &[(String, String)]) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    // a shell of the agent's may have closed it, or put a folder where a file goes
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700))?;
    for (name, content) in files {
        let path = home.join(name);
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above)?;
        }
        // what the agent may have put there meanwhile is removed, not followed
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
                std::fs::remove_dir_all(&path)?;
            }
            Err(error) => return Err(error),
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        std::io::Write::write_all(&mut file, content.as_bytes())?;
    }
    Ok(())
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
