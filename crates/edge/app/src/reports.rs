//! Reports on request, from the rows behind the persistence ports.

use async_trait::async_trait;
use fapo_domain::ids::JobId;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::optimizer::{OptimizerError, ReportFormat, Reporter};

use crate::ports::Ports;
use crate::report::assemble::assemble;
use crate::report::{html, markdown};

/// Writes reports of jobs as they stand. The JSON is the report's data whole, from which everything else is rendered.
#[derive(Debug, Clone)]
pub struct Reports(Ports);

impl Reports {
    /// Over these ports.
    pub const fn new(ports: Ports) -> Self {
        Self(ports)
    }

    async fn write(&self, id: JobId, format: ReportFormat) -> anyhow::Result<Vec<u8>> {
        let job = self.0.jobs.get_job(id).await?;
        let data = assemble(&self.0, &job).await?;
        Ok(match format {
            ReportFormat::Markdown => markdown(&data)?.into_bytes(),
            ReportFormat::Html => html(&data)?.into_bytes(),
            ReportFormat::Json => serde_json::to_vec(&data)?,
        })
    }
}

#[async_trait]
impl Reporter for Reports {
    async fn report(&self, id: JobId, format: ReportFormat) -> Result<Vec<u8>, OptimizerError> {
        let written = self.write(id, format).await;
        written.map_err(|error| match error.downcast::<StoreError>() {
            Ok(StoreError::NotFound { kind: "job", id }) => {
                OptimizerError::NotFound { kind: "job", id }
            }
            Ok(error) => error.into(),
            Err(error) => OptimizerError::Internal {
                message: "the report cannot be written".to_owned(),
                source: Some(error.into()),
            },
        })
    }
}
