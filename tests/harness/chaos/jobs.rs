//! The work that goes on meanwhile: projects, each of its own name, seed and prompt, so that no two share a reply.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use fapo_sim::{SimHandle, SimServer, World};

use crate::cluster::Cluster;
use crate::{Project, Ran, Running, root};

/// The examples that jobs are made from, the variable that names each one's model, and its prompt.
const EXAMPLES: [(&str, &str, &str); 2] = [
    (
        "missing-hop",
        "FAPO_MODEL_HOP",
        "pipeline/prompts/answer.md",
    ),
    (
        "answer-form",
        "FAPO_MODEL_FORM",
        "pipeline/prompts/classify.md",
    ),
];

/// The simulated models, one an example.
pub(super) struct Models(Vec<(&'static str, SimHandle)>);

impl Models {
    pub(super) async fn start() -> Result<Self> {
        let mut models = Vec::new();
        for (example, variable, _) in EXAMPLES {
            let file = root().join("examples").join(example).join("sim.json");
            let world = World::load(&std::fs::read_to_string(file)?)?;
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            models.push((variable, SimServer::start(world, any).await?));
        }
        Ok(Self(models))
    }

    /// The variables that name them.
    pub(super) fn env(&self) -> Vec<(String, String)> {
        let urls = self.0.iter();
        let mut env: Vec<(String, String)> = urls
            .map(|(variable, model)| ((*variable).to_owned(), model.base_url()))
            .collect();
        env.push(("OPENAI_API_KEY".to_owned(), "any".to_owned()));
        env
    }

    /// What all of them were asked.
    pub(super) fn stats(&self) -> Asked {
        let mut asked = Asked::default();
        for (_, model) in &self.0 {
            let stats = model.stats();
            asked.requests += stats.requests;
            asked.repeated += stats.repeated;
        }
        asked
    }
}

/// What models were asked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    /// Requests.
    pub requests: u64,
    /// Those among them that had been answered before.
    pub repeated: u64,
}

/// Every job that was submitted, in order.
#[derive(Default)]
pub(super) struct Jobs(Vec<Submission>);

struct Submission {
    project: Project,
    /// The request's own name: sent again, it must not become a second job.
    request: String,
    /// The command that submits it, while it runs.
    sending: Option<Running>,
    /// The job's id, once that is known.
    job: Option<String>,
}

impl Jobs {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Submissions of which nobody knows yet whether they became jobs.
    pub(super) fn on_their_way(&self) -> usize {
        self.0.iter().filter(|one| one.job.is_none()).count()
    }

    /// The ids of those that did.
    pub(super) fn submitted(&self) -> Vec<String> {
        self.0.iter().filter_map(|one| one.job.clone()).collect()
    }

    /// Begins to submit the next project.
    pub(super) fn submit(&mut self, cluster: &Cluster) -> Result<()> {
        let number = self.0.len();
        let project = project(number)?;
        let request = format!("chaos-{number}");
        let sending = Some(send(cluster, &project, &request)?);
        self.0.push(Submission {
            project,
            request,
            sending,
            job: None,
        });
        Ok(())
    }

    /// Looks what became of submissions. One that failed is sent again, under its name.
    pub(super) fn look(&mut self, cluster: &Cluster) -> Result<()> {
        for one in &mut self.0 {
            let Some(sending) = &mut one.sending else {
                continue;
            };
            if !sending.has_ended()? {
                continue;
            }
            let ended = one.sending.take().map(Running::end).transpose()?;
            one.job = ended.map(|ran| accepted(&ran)).transpose()?.flatten();
            if one.job.is_none() {
                one.sending = Some(send(cluster, &one.project, &one.request)?);
            }
        }
        Ok(())
    }

    /// The lineage hash of the embedded run of a job's project.
    pub(super) fn embedded(&self, job: &str, env: &[(String, String)]) -> Result<String> {
        let one = self.0.iter().find(|one| one.job.as_deref() == Some(job));
        let one = one.with_context(|| format!("job {job} was submitted here"))?;
        let env: Vec<(&str, &str)> = env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let ran = one.project.fapo_with_env("optimize", &["--json"], &env)?;
        let hash = &ran.json()?["lineage_hash"];
        Ok(hash.as_str().unwrap_or_default().to_owned())
    }
}

/// The id of the job that a submission became; `None` where the server could not be reached for long enough.
fn accepted(ran: &Ran) -> Result<Option<String>> {
    match ran.code() {
        0 => Ok(ran.json()?["job"].as_str().map(str::to_owned)),
        1 => Ok(None),
        code => bail!("`fapo submit` ended with {code}: {}", ran.stderr()),
    }
}

fn send(cluster: &Cluster, project: &Project, request: &str) -> Result<Running> {
    let server = cluster.url()?;
    let mut command: Command = cluster.command()?;
    command.arg("submit").arg(project.path()).args([
        "--server",
        &server,
        "--request-id",
        request,
        "--json",
    ]);
    Running::start(command)
}

/// The project of that number.
fn project(number: usize) -> Result<Project> {
    let (example, variable, prompt) = EXAMPLES[number % EXAMPLES.len()];
    let project = Project::example(example)?;
    let sim = "{ provider: sim, model: sim-small, world: sim.json, temperature: 0.0 }";
    let served = format!(
        "{{ provider: openai, model: sim-small, base_url: \"${{{variable}}}\", temperature: 0.0 }}"
    );
    project.edit("fapo.yaml", sim, &served)?;
    let name = format!("name: {example}");
    project.edit("fapo.yaml", &name, &format!("{name}-{number}"))?;
    project.edit("fapo.yaml", "seed: 7", &format!("seed: {}", 7 + number))?;
    // small blocks make many tasks
    project.edit("fapo.yaml", "block_size: 20", "block_size: 5")?;
    let form = "system:\n";
    project.edit(prompt, form, &format!("{form}Edition {number}. "))?;
    Ok(project)
}
