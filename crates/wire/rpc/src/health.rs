//! Asking a server whether it serves, as `grpc.health.v1` has it.

use std::time::Duration;

use tonic::Status;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Why a server is not taken for one that serves.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The address is none, or nobody answers there.
    #[error("{url} does not answer")]
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        #[source]
        source: tonic::transport::Error,
    },
    /// It answers, and not whether it serves.
    #[error("{url} does not say whether it serves")]
    Refused {
        /// The address.
        url: String,
        /// What it says.
        #[source]
        source: Box<Status>,
    },
    /// It says that it does not serve.
    #[error("{url} says that it does not serve")]
    NotServing {
        /// The address.
        url: String,
    },
}

/// Asks once, for the server as a whole, within `timeout`.
///
/// # Errors
/// Unless it says SERVING.
pub async fn check_health(url: &str, timeout: Duration) -> Result<(), HealthError> {
    let unreachable = |source| HealthError::Unreachable {
        url: url.to_owned(),
        source,
    };
    let channel = Endpoint::from_shared(url.to_owned())
        .map_err(unreachable)?
        .connect_timeout(timeout)
        .timeout(timeout)
        .connect()
        .await
        .map_err(unreachable)?;
    let asked = HealthCheckRequest {
        service: String::new(),
    };
    let answer = HealthClient::new(channel).check(asked).await;
    let answer = answer.map_err(|status| HealthError::Refused {
        url: url.to_owned(),
        source: Box::new(status),
    })?;
    if answer.into_inner().status() == ServingStatus::Serving {
        Ok(())
    } else {
        Err(HealthError::NotServing {
            url: url.to_owned(),
        })
    }
}
