//! `fapo report`: the report as Markdown and as one HTML page.

use std::path::{Path, PathBuf};

use fapo_domain::model::job::Job;

use super::advice::Advice;
use super::args::ReportArgs;
use super::session::open_store;
use super::{Context, find};
use crate::exit::Exit;
use crate::ports::Ports;
use crate::report::assemble::assemble;
use crate::report::data::ReportData;
use crate::report::{html, markdown};

pub async fn run(context: &Context, args: &ReportArgs) -> anyhow::Result<Exit> {
    if let Some(server) = args.server.named() {
        return super::remote::show::report(context, args, &server).await;
    }
    let ports = open_store(context, &args.dir).await?;
    let job = find::job(&ports, args.job.as_deref()).await?;
    let (data, written) = write(&ports, &job, &args.dir, args.out.as_deref()).await?;
    written.show(context, &data)?;
    Ok(Exit::Ok)
}

/// Where a report stands.
#[derive(Debug)]
pub struct Written {
    /// The Markdown file.
    pub markdown: PathBuf,
    /// The page.
    pub html: PathBuf,
}

impl Written {
    /// Says where the report of `data` stands.
    pub fn show(&self, context: &Context, data: &ReportData) -> std::io::Result<()> {
        if context.output.json {
            return context.output.json(&serde_json::json!({
                "job": data.job.to_string(),
                "verdict": crate::report::verdict::verdict(data),
                "markdown": self.markdown,
                "html": self.html,
            }));
        }
        let (html, markdown) = (self.html.display(), self.markdown.display());
        context.output.data(&format!("{html}\n{markdown}"))
    }
}

/// Writes a job's report into `out`, or into the project's own folder for reports.
pub async fn write(
    ports: &Ports,
    job: &Job,
    dir: &Path,
    out: Option<&Path>,
) -> anyhow::Result<(ReportData, Written)> {
    let data = assemble(ports, job).await?;
    let folder = out.map_or_else(
        || dir.join(".fapo").join("reports").join(job.id.short()),
        Path::to_owned,
    );
    let written = put(&folder, &markdown(&data)?, &html(&data)?)?;
    Ok((data, written))
}

/// Writes the two files of a report into `folder`, making it.
pub fn put(folder: &Path, markdown: &str, html: &str) -> anyhow::Result<Written> {
    let failed = |source: std::io::Error| {
        Advice::because(
            format!("cannot write the report into {}", folder.display()),
            "choose another folder with --out",
            source,
        )
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let written = Written {
        markdown: folder.join("report.md"),
        html: folder.join("report.html"),
    };
    replace(&written.markdown, markdown).map_err(failed)?;
    replace(&written.html, html).map_err(failed)?;
    Ok(written)
}

/// Writes a file as a whole or not at all: a full disk leaves the old one as it was.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // temporary files are private; a report is for whoever may read the folder
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path)?;
    Ok(())
}
