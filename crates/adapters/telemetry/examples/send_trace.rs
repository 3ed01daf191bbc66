//! Sends one made-up trace to a receiver of OTLP, to see what it makes of fapo's spans:
//!
//! ```sh
//! cargo run -p fapo-telemetry --example send_trace -- http://127.0.0.1:4317
//! ```
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::time::Duration;

use fapo_domain::telemetry as names;
use fapo_telemetry::{Format, Otlp, TelemetryConfig};

fn main() -> Result<(), fapo_telemetry::TelemetryError> {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.unwrap_or_else(|| "http://127.0.0.1:4317".to_owned());
    let guard = fapo_telemetry::start(&TelemetryConfig {
        role: "executor".to_owned(),
        instance: "send-trace".to_owned(),
        otlp: Some(Otlp::new(&endpoint)),
        content: true,
        ..TelemetryConfig::logs("info", Format::Text)
    })?;
    let task = tracing::info_span!(
        target: "fapo_example",
        "task",
        { names::JOB_ID } = "a-job",
        { names::OPENINFERENCE_KIND } = names::KIND_CHAIN,
    );
    task.in_scope(|| {
        let call = tracing::info_span!(
            target: names::SPANS,
            "chat",
            otel.name = "chat gpt-4.1-mini",
            otel.kind = "client",
            { names::GEN_AI_OPERATION } = names::CHAT,
            { names::GEN_AI_PROVIDER } = "openai",
            { names::GEN_AI_REQUEST_MODEL } = "gpt-4.1-mini",
            { names::GEN_AI_FINISH_REASONS } = "stop",
            { names::GEN_AI_INPUT_TOKENS } = 1200_i64,
            { names::GEN_AI_OUTPUT_TOKENS } = 34_i64,
            { names::COST_USD } = 0.000_534_4_f64,
            { names::LLM_COST } = 0.000_534_4_f64,
            { names::OPENINFERENCE_KIND } = names::KIND_LLM,
            { names::GEN_AI_INPUT_MESSAGES } =
                r#"[{"role":"user","parts":[{"type":"text","content":"Who founded it?"}]}]"#,
            { names::GEN_AI_OUTPUT_MESSAGES } =
                r#"[{"role":"assistant","parts":[{"type":"text","content":"Ada."}],"finish_reason":"stop"}]"#,
        );
        let _entered = call.enter();
        println!(
            "trace {}",
            guard
                .trace_context()
                .current()
                .map_or_else(String::new, |parent| parent.trace_id().to_owned())
        );
    });
    drop(task);
    let sent = guard.shutdown(Duration::from_secs(5));
    println!("{}", if sent { "sent" } else { "not sent" });
    Ok(())
}
