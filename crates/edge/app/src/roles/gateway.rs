//! Gateway: the HTTP API, over jobs that the orchestrator drives, here or elsewhere. Its gRPC port offers the same jobs, so that
//! clients need to reach no other process.

use std::sync::Arc;

use fapo_gateway::{ApiState, GatewayConfig, GatewayLimits, Ports};
use fapo_rpc::OptimizerServer;

use super::{Parts, Process};
use crate::config::raw::AuthMode;
use crate::config::server::{Role, ServerConfig};

/// Adds the role to the process, where it is one of its roles.
///
/// # Errors
/// When the orchestrator is neither here nor named.
pub fn add(parts: &Parts, process: &mut Process) -> anyhow::Result<()> {
    if !parts.config.node.has(Role::Gateway) {
        return Ok(());
    }
    let optimizer = parts.optimizer()?;
    if !parts.config.node.has(Role::Orchestrator) {
        let server = OptimizerServer::new(
            Arc::clone(&optimizer),
            Arc::clone(&parts.trace),
            process.stopping.clone(),
        );
        process.offer(|grpc| grpc.optimizer(server));
    }
    let stored = &parts.base.ports;
    let ports = Ports {
        optimizer,
        queries: stored.questions.clone(),
        traces: stored.traces.clone(),
        findings: stored.findings.clone(),
        sessions: stored.sessions.clone(),
        tokens: stored.tokens.clone(),
        clock: parts.base.clock.clone(),
        trace_context: parts.trace.clone(),
    };
    let state = ApiState::new(ports, config(&parts.config), process.stopping.clone());
    process.api = Some(state);
    Ok(())
}

/// What the gateway allows, as the server's configuration has it.
fn config(config: &ServerConfig) -> GatewayConfig {
    let limits = config.limits;
    let a_second = f64::from(limits.requests_per_minute) / 60.0;
    GatewayConfig {
        auth: match config.auth {
            AuthMode::Off => fapo_gateway::AuthMode::Off,
            AuthMode::Tokens => fapo_gateway::AuthMode::Tokens,
        },
        trust_proxy: limits.trust_proxy,
        limits: GatewayLimits {
            json_bytes: limits.body,
            blob_bytes: limits.file,
            request_time: limits.request_timeout,
            upload_time: limits.upload_timeout(),
            requests: limits.concurrency,
            streams: limits.concurrency,
            rate: a_second,
            // a page that asks for much at once is no flood
            burst: limits.requests_per_minute.div_ceil(6).max(10),
            ..GatewayLimits::default()
        },
    }
}
