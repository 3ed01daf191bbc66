//! Brings a project into a store: cases, documents and the baseline, as streams. What comes out is a job's frozen
//! specification.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fapo_domain::hash::Hasher;
use fapo_domain::model::case::Split;
use fapo_domain::model::job::{CorpusRef, JobGoal, JobSpec};
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::datasets::{Dataset, Datasets, ImportId, IncomingCase};
use fapo_domain::problem::Problems;
use fapo_domain::{ContentHash, DatasetId};

use super::cases::{
    data_problem, duplicate, is_hopeless, open_cases, say_if_cut_short, split_files,
};
use super::documents::open_documents;
use super::load::LoadedProject;
use super::protect::Unmet;
use super::scan::lacks;
use crate::ports::Ports;

/// Cases per write.
const BATCH: usize = 1000;
/// Bytes of documents per blob.
const CHUNK: usize = 4 << 20;

/// An imported project.
#[derive(Debug)]
pub struct Imported {
    /// What a job over it is made from; set `goal` before submitting.
    pub spec: JobSpec,
    /// The dataset.
    pub dataset: Dataset,
}

/// Why a project could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The data has problems; nothing was imported.
    #[error("the data has problems")]
    Problems(Problems),
    /// The store failed.
    #[error("the project could not be stored")]
    Store(#[from] StoreError),
}

/// Imports `project`. All or nothing: with any problem in the data no dataset version comes to be. Equal content is
/// stored once, however often it is imported.
///
/// # Errors
/// [`ImportError::Problems`] with up to 100 problems of the data files, or the store's own error.
pub async fn import_project(
    project: &LoadedProject,
    ports: &Ports,
    goal: JobGoal,
) -> Result<Imported, ImportError> {
    let mut problems = Problems::new();
    let dataset = import_cases(project, &*ports.datasets, &mut problems).await?;
    let mut corpora = BTreeMap::new();
    for (name, file) in &project.spec.data.corpora {
        if let Some(corpus) =
            import_corpus(&project.dir, file, &*ports.blobs, &mut problems).await?
        {
            corpora.insert(name.clone(), corpus);
        }
    }
    let Some(dataset) = dataset.filter(|_| !problems.has_errors()) else {
        say_if_cut_short(&mut problems);
        return Err(ImportError::Problems(problems));
    };
    let baseline = ports.variants.put_variant(&project.tree).await?;
    let seal = seal(project, dataset.id, &corpora);
    let spec = JobSpec {
        goal,
        project: project.spec.clone(),
        baseline,
        dataset: dataset.id,
        cases: dataset.cases.clone(),
        corpora,
        seal,
        protect: project.protect.clone(),
        scorer_code: project.scorer_code.clone(),
        playbook: project.playbook.clone(),
        prompts: project.prompts.clone(),
    };
    Ok(Imported { spec, dataset })
}

async fn import_cases(
    project: &LoadedProject,
    store: &dyn Datasets,
    problems: &mut Problems,
) -> Result<Option<Dataset>, StoreError> {
    let spec = &project.spec;
    let import = store.begin_import(&spec.name).await?;
    let outcome = fill_import(project, store, import, problems).await;
    if outcome.is_err() || problems.has_errors() {
        store.abort_import(import).await?;
        return outcome.map(|()| None);
    }
    if spec.data.val.is_none() {
        store
            .split_import(import, spec.data.val_fraction, spec.seed)
            .await?;
    }
    store.commit_import(import).await.map(Some)
}

async fn fill_import(
    project: &LoadedProject,
    store: &dyn Datasets,
    import: ImportId,
    problems: &mut Problems,
) -> Result<(), StoreError> {
    let mut unmet = Unmet::new(&project.spec, &project.protect);
    for (split, file) in split_files(&project.spec) {
        let reader = match open_cases(&project.dir, split, file) {
            Ok(reader) => reader,
            Err(problem) => {
                problems.push(*problem);
                continue;
            }
        };
        let before = problems.len();
        let limit = project.spec.data.max_cases.unwrap_or(u64::MAX);
        let mut count = 0u64;
        let mut batch = Vec::with_capacity(BATCH);
        for incoming in reader {
            if count >= limit || is_hopeless(problems) {
                break;
            }
            match incoming {
                Ok(incoming) => {
                    count += 1;
                    unmet.meet(&incoming.case.case_id);
                    let scorer = Some(&project.scorer);
                    for lack in lacks(scorer, &incoming.case, file, incoming.line) {
                        problems.push(lack);
                    }
                    batch.push(incoming);
                }
                Err(problem) => problems.push(problem),
            }
            if batch.len() == BATCH {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                store_batch(store, import, full, problems).await?;
            }
        }
        store_batch(store, import, batch, problems).await?;
        if count == 0 && problems.len() == before && !is_hopeless(problems) {
            problems.push(data_problem(file, None, "holds no cases".to_owned()));
        }
    }
    unmet.tell(problems);
    Ok(())
}

async fn store_batch(
    store: &dyn Datasets,
    import: ImportId,
    batch: Vec<IncomingCase>,
    problems: &mut Problems,
) -> Result<(), StoreError> {
    if batch.is_empty() {
        return Ok(());
    }
    for repeat in store.import_cases(import, batch).await? {
        let second = IncomingCase {
            split: Split::Train,
            case: fapo_domain::model::case::Case {
                case_id: repeat.case_id,
                input: serde_json::Map::new(),
                expected: serde_json::Map::new(),
                metadata: serde_json::Map::new(),
            },
            file: repeat.second.0,
            line: repeat.second.1,
        };
        problems.push(duplicate(
            &second,
            &format!("{}:{}", repeat.first.0, repeat.first.1),
        ));
    }
    Ok(())
}

/// Stores a document collection as blobs of whole lines.
async fn import_corpus(
    dir: &Path,
    file: &str,
    store: &dyn Blobs,
    problems: &mut Problems,
) -> Result<Option<CorpusRef>, StoreError> {
    let reader = match open_documents(dir, file) {
        Ok(reader) => reader,
        Err(problem) => {
            problems.push(*problem);
            return Ok(None);
        }
    };
    let before = problems.len();
    let mut hasher = Hasher::new("corpus/v1");
    let mut chunks = Vec::new();
    let mut chunk: Vec<u8> = Vec::new();
    let mut documents = 0u64;
    for document in reader {
        if is_hopeless(problems) {
            return Ok(None);
        }
        let document = match document {
            Ok(read) => read,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let bytes = serde_json::to_vec(&document).expect("a document is plain text fields");
        hasher.part(&bytes);
        documents += 1;
        if !chunk.is_empty() && chunk.len() + bytes.len() >= CHUNK {
            chunks.extend(
                store
                    .put_blobs(vec![Arc::from(std::mem::take(&mut chunk))])
                    .await?,
            );
        }
        chunk.extend_from_slice(&bytes);
        chunk.push(b'\n');
    }
    if documents == 0 {
        if problems.len() == before {
            problems.push(data_problem(file, None, "holds no documents".to_owned()));
        }
        return Ok(None);
    }
    chunks.extend(store.put_blobs(vec![Arc::from(chunk)]).await?);
    Ok(Some(CorpusRef {
        hash: hasher.finish(),
        chunks,
        documents,
    }))
}

/// The hash over everything a job must not see change.
fn seal(
    project: &LoadedProject,
    dataset: DatasetId,
    corpora: &BTreeMap<String, CorpusRef>,
) -> ContentHash {
    let mut hasher = Hasher::new("seal/v1");
    hasher
        .hash(&project.spec_hash)
        .hash(&dataset.0)
        .part(spec_text(&project.spec).as_bytes());
    for (name, corpus) in corpora {
        hasher.part(name.as_bytes()).hash(&corpus.hash);
    }
    for id in &project.protect {
        hasher.part(id.as_str().as_bytes());
    }
    for (path, text) in &project.scorer_code {
        hasher.part(path.as_bytes()).part(text.as_bytes());
    }
    hasher.part(project.playbook.as_deref().unwrap_or_default().as_bytes());
    for (name, text) in &project.prompts {
        hasher.part(name.as_bytes()).part(text.as_bytes());
    }
    hasher.finish()
}

fn spec_text(spec: &ProjectSpec) -> String {
    let value = serde_json::to_value(spec).expect("a project specification is plain data");
    fapo_domain::hash::canonical_json(&value)
}
