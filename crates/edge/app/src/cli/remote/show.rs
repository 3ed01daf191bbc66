//! `fapo status`, `report`, `lineage` and `export` with `--server`. The folder's place on the command line is taken by a job's id.

use std::path::{Path, PathBuf};

use fapo_domain::VariantId;
use fapo_domain::ports::optimizer::{JobSummary, ReportFormat};

use super::super::Context;
use super::super::advice::Advice;
use super::super::args::{ExportArgs, JobArgs, ReportArgs, ServerArgs, StatusArgs};
use super::super::find::Named;
use super::super::status::{self, Row, SHOWN};
use super::super::{export as local_export, report as local_report};
use super::{command, connect, job};
use crate::exit::Exit;
use crate::remote::Remote;
use crate::report::data::ReportData;

/// The job that a command line names: by `--job`, or where a folder would stand.
pub fn named<'a>(dir: &'a Path, job: Option<&'a str>) -> Option<&'a str> {
    job.or_else(|| dir.to_str().filter(|dir| *dir != "."))
}

pub async fn status(
    context: &Context,
    args: &StatusArgs,
    server: &ServerArgs,
) -> anyhow::Result<Exit> {
    let remote = connect(context, server)?;
    list(context, &remote, named(&args.dir, args.job.as_deref())).await
}

pub(super) async fn list(
    context: &Context,
    remote: &Remote,
    name: Option<&str>,
) -> anyhow::Result<Exit> {
    let Some(name) = name else {
        // one more than is shown tells whether there are more
        let jobs = remote.jobs(SHOWN + 1).await?;
        let rows: Vec<Row> = jobs.iter().take(SHOWN).map(row).collect();
        status::show(context, &rows)?;
        if jobs.len() > SHOWN && !context.output.json {
            context.output.note("... and older ones");
        }
        return Ok(Exit::Ok);
    };
    let job = job(remote, Some(name)).await?;
    status::show(context, &[row(&job)])?;
    if !context.output.json {
        status::show_events(context, &remote.history(job.id).await?)?;
    }
    Ok(Exit::Ok)
}

fn row(job: &JobSummary) -> Row {
    Row::new(job, true)
}

/// What a job's lineage and report are made from.
pub async fn data(
    context: &Context,
    args: &JobArgs,
    server: &ServerArgs,
) -> anyhow::Result<ReportData> {
    let remote = connect(context, server)?;
    let job = job(&remote, named(&args.dir, args.job.as_deref())).await?;
    Ok(remote.report(job.id).await?)
}

pub async fn report(
    context: &Context,
    args: &ReportArgs,
    server: &ServerArgs,
) -> anyhow::Result<Exit> {
    let remote = connect(context, server)?;
    let name = named(&args.dir, args.job.as_deref());
    write_report(context, &remote, name, args.out.as_deref()).await
}

/// Writes what the server rendered, into `out` or a folder of the job's here.
pub(super) async fn write_report(
    context: &Context,
    remote: &Remote,
    name: Option<&str>,
    out: Option<&Path>,
) -> anyhow::Result<Exit> {
    let id = job(remote, name).await?.id;
    let data = remote.report(id).await?;
    let text = async |format| {
        let report = remote.optimizer.report(&remote.caller, id, format).await?;
        anyhow::Ok(String::from_utf8(report)?)
    };
    let (markdown, html) =
        tokio::try_join!(text(ReportFormat::Markdown), text(ReportFormat::Html))?;
    let folder = out.map_or_else(
        || PathBuf::from(format!("fapo-report-{}", id.short())),
        Path::to_owned,
    );
    local_report::put(&folder, &markdown, &html)?.show(context, &data)?;
    Ok(Exit::Ok)
}

pub async fn export(
    context: &Context,
    args: &ExportArgs,
    server: &ServerArgs,
) -> anyhow::Result<Exit> {
    let remote = connect(context, server)?;
    write_variant(context, &remote, args).await
}

pub(super) async fn write_variant(
    context: &Context,
    remote: &Remote,
    args: &ExportArgs,
) -> anyhow::Result<Exit> {
    let job = job(remote, named(&args.dir, args.job.as_deref())).await?;
    let id = match args.variant.as_str() {
        "baseline" => job.baseline,
        "best" => job.best,
        digits => by_digits(remote, &job, digits).await?,
    };
    let variant = fetch(remote, &job, id).await?;
    let baseline = fetch(remote, &job, job.baseline).await?;
    local_export::write(context, args, &variant, Some(&baseline))
}

async fn fetch(remote: &Remote, job: &JobSummary, id: VariantId) -> anyhow::Result<Named> {
    let (optimizer, caller) = (&remote.optimizer, &remote.caller);
    let tree = optimizer.variant(caller, job.id, id).await?;
    Ok(Named { id, tree })
}

/// The one of the job's variants whose id begins so.
async fn by_digits(remote: &Remote, job: &JobSummary, digits: &str) -> anyhow::Result<VariantId> {
    let wanted = digits.to_lowercase();
    // a whole id may be that of a variant that was refused, which no lineage has
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    let family = remote.optimizer.lineage(&remote.caller, job.id).await?;
    let mut found: Vec<VariantId> = family
        .variants
        .iter()
        .map(|row| row.child)
        .chain([job.baseline])
        .filter(|id| id.to_string().starts_with(&wanted))
        .collect();
    found.sort_unstable();
    found.dedup();
    let lists = format!(
        "`{}` lists the variants",
        command("lineage", remote, job.id)
    );
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(Advice::new(
            format!("the job has no variant {digits}"),
            format!("{lists}; baseline and best work, too"),
        )
        .into()),
        _ => Err(Advice::new(
            format!("several variants begin with {digits}"),
            format!("give more digits; {lists}"),
        )
        .into()),
    }
}
