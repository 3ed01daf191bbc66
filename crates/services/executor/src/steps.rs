//! Starting a step of each kind, and waiting for those that take time.

use std::sync::Arc;

use fapo_domain::StepId;
use fapo_domain::model::pipeline::RetrieveStep;
use fapo_domain::model::trace::{FinishReason, StepOutput};
use fapo_domain::money::SpendRole;
use fapo_domain::ports::models::{Message, Meter, MeteredReply, ModelRequest};
use serde_json::Value;
use tracing::{Instrument as _, Span};

mod python;
mod retrieve;

use crate::json::{check_schema, read_json};
use crate::key::llm_key;
use crate::observe;
use crate::outcome::{Fault, StepError, cap, from_metered};
use crate::plan::{Action, Llm, Step, Template};
use crate::run::{Place, Run, Started, Visible};
use crate::sample::SampleWork;
use python::CodeWork;

/// A step that waits: for a model, for code, or for its samples.
pub(crate) enum Work<'r> {
    Call(Box<CallWork<'r>>),
    Code(Box<CodeWork<'r>>),
    Sample(Box<SampleWork<'r>>),
}

/// A model call about to be made.
pub(crate) struct CallWork<'r> {
    llm: &'r Llm,
    position: usize,
    request: Arc<ModelRequest>,
    meter: Meter,
}

impl<'r> Work<'r> {
    /// Waits for the step's value, inside the step's span, and completes its record.
    pub(crate) async fn finish(
        self,
        run: &'r Run<'_>,
        span: Span,
    ) -> Result<Arc<StepOutput>, StepError> {
        let work = async {
            match self {
                Self::Call(call) => (call.position, run.call(*call).await),
                Self::Code(work) => (work.position, run.code(*work).await),
                Self::Sample(work) => {
                    let position = work.position;
                    (position, run.sample(*work).await)
                }
            }
        };
        let (position, result) = work.instrument(span.clone()).await;
        run.close(position, &result);
        let cache_hit = run.trace().record(position).cache_hit;
        observe::step_ended(&span, result.as_ref().map(|_| true), cache_hit);
        result
    }
}

impl Run<'_> {
    /// Starts a step: decides whether it runs, renders what goes in, and does at once what takes no waiting.
    pub(crate) fn start<'r>(
        &'r self,
        place: &'r Place,
        step: &'r Step,
        visible: Vec<Visible>,
    ) -> Result<Started<'r>, StepError> {
        let position = self.open(place, step);
        let started = self.begin(place, step, visible, position);
        match &started {
            Ok(Started::Later(_)) => {}
            Ok(Started::Now(value)) => {
                let mut trace = self.trace();
                if let Some(output) = value {
                    trace.value(position, Arc::clone(output));
                }
                trace.close(position, self.began.elapsed(), None);
            }
            Err(error) => self.trace().close(
                position,
                self.began.elapsed(),
                Some((error.kind(), error.message())),
            ),
        }
        started
    }

    fn open(&self, place: &Place, step: &Step) -> usize {
        let id = if place.prefix.is_empty() {
            step.id.clone()
        } else {
            StepId::new(format!("{}{}", place.prefix, step.id))
        };
        self.trace().open(id, step.kind, self.began.elapsed())
    }

    fn close(&self, position: usize, result: &Result<Arc<StepOutput>, StepError>) {
        let mut trace = self.trace();
        let error = match result {
            Ok(output) => {
                trace.value(position, Arc::clone(output));
                None
            }
            Err(error) => Some((error.kind(), error.message())),
        };
        trace.close(position, self.began.elapsed(), error);
    }

    fn begin<'r>(
        &'r self,
        place: &'r Place,
        step: &'r Step,
        visible: Vec<Visible>,
        position: usize,
    ) -> Result<Started<'r>, StepError> {
        let context = self.input.context(&visible, place.extra.as_slice());
        if let Some(when) = &step.when
            && !when.eval(&context)?
        {
            self.skip(position);
            return Ok(Started::Now(None));
        }
        let output = match &step.action {
            Action::Llm(llm) => {
                let messages = llm.prompt.render(&context)?;
                return self
                    .prepare(llm, place, step, messages, position)
                    .map(Started::Later);
            }
            Action::Python(python) => {
                let inputs = self.inputs(python, place, &visible);
                let work = CodeWork::new(python, position, inputs);
                return Ok(Started::Later(Work::Code(Box::new(work))));
            }
            Action::Sample(sample) => {
                let work = SampleWork::new(sample, place, step, visible, position);
                return Ok(Started::Later(Work::Sample(Box::new(work))));
            }
            Action::Retrieve(retrieve) => {
                let mut queries = Vec::with_capacity(retrieve.queries.len());
                for query in &retrieve.queries {
                    let text = query.render(&context)?;
                    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                    // one more than allowed says as much as all of them
                    let room = RetrieveStep::MAX_QUERIES + 1 - queries.len();
                    queries.extend(lines.take(room).map(str::to_owned));
                    if queries.len() > RetrieveStep::MAX_QUERIES {
                        let most = RetrieveStep::MAX_QUERIES;
                        let message = format!(
                            "the queries have more than {most} lines, and each line is a query"
                        );
                        return Err(Fault::new("too_many_queries", message).into());
                    }
                }
                self.retrieve(retrieve, queries, &visible, position)?
            }
            Action::Template(template) => template.output(template.text.render(&context)?)?,
        };
        Ok(Started::Now(Some(Arc::new(output))))
    }

    fn prepare<'r>(
        &self,
        llm: &'r Llm,
        place: &Place,
        step: &Step,
        messages: Vec<Message>,
        position: usize,
    ) -> Result<Work<'r>, StepError> {
        let session = self.session;
        let site = session.calls[llm.slot];
        let key = llm_key(site.fingerprint, &messages, &place.path);
        let request = Arc::new(ModelRequest {
            entry: Arc::clone(&llm.entry),
            spec: Arc::clone(&llm.model),
            messages,
            temperature: llm.temperature,
            top_p: llm.top_p,
            max_tokens: llm.max_tokens,
            stop: llm.stop.clone(),
            seed: llm.seed.map(|seed| seed.wrapping_add(place.path.offset())),
            schema: llm.schema.clone(),
            waits: self.waits.clone(),
        });
        let mut trace = self.trace();
        trace.record(position).key = Some(key);
        trace.ask(position, Arc::clone(&request));
        let allowed = u64::from(session.limits.model_calls);
        if trace.used.model_calls >= allowed {
            return Err(cap(
                "cap_model_calls",
                format!("the case may make {allowed} model calls"),
            )
            .into());
        }
        trace.used.model_calls += 1;
        drop(trace);
        Ok(Work::Call(Box::new(CallWork {
            llm,
            position,
            request,
            meter: Meter {
                job: session.job,
                fence: session.fence,
                role: SpendRole::Task,
                key,
                fingerprint: site.fingerprint,
                look_up: session.may_hit(site, key),
                more: session.more_after(step),
            },
        })))
    }

    async fn call(&self, work: CallWork<'_>) -> Result<Arc<StepOutput>, StepError> {
        let CallWork {
            llm,
            position,
            request,
            meter,
        } = work;
        let reply = self.session.models.complete(&request, &meter).await;
        drop(request);
        let reply = reply.map_err(from_metered)?;
        self.count(position, &reply)?;
        let mut output = StepOutput {
            text: reply.text,
            ..StepOutput::default()
        };
        if reply.finish == FinishReason::Refusal {
            self.trace().value(position, Arc::new(output));
            return Err(StepError::Refused);
        }
        match llm.read(&output.text) {
            Ok(json) => output.json = json,
            Err(fault) => {
                self.trace().value(position, Arc::new(output));
                return Err(fault.into());
            }
        }
        Ok(Arc::new(output))
    }

    /// Notes what a reply cost, and holds the sums against the caps.
    fn count(&self, position: usize, reply: &MeteredReply) -> Result<(), StepError> {
        let limits = self.session.limits;
        let mut trace = self.trace();
        let record = trace.record(position);
        record.finish = Some(reply.finish);
        record.spend = reply.spend;
        record.full_spend = reply.full_spend;
        record.full_duration_ms = reply.full_duration_ms;
        record.cache_hit = reply.cache_hit;
        record.attempts = reply.attempts;
        let usage = reply.usage();
        trace.used.tokens += usage.input_tokens + usage.output_tokens;
        trace.used.cost += reply.full_spend.cost;
        let used = trace.used;
        let halt = if let Some(allowed) = limits.tokens
            && used.tokens > allowed
        {
            let message = format!("the case may use {allowed} tokens and used {}", used.tokens);
            cap("cap_tokens", message)
        } else if let Some(allowed) = self.cost_cap()
            && used.cost > allowed
        {
            let message = format!("the case may cost {allowed} and cost {}", used.cost);
            cap("cap_usd", message)
        } else {
            return Ok(());
        };
        let output = StepOutput {
            text: reply.text.clone(),
            ..StepOutput::default()
        };
        trace.value(position, Arc::new(output));
        Err(halt.into())
    }
}

impl Llm {
    fn read(&self, text: &str) -> Result<Option<Value>, Fault> {
        if self.schema.is_none() {
            return Ok(None);
        }
        let value = read_json(text)?;
        if let Some(validator) = &self.validator {
            check_schema(validator, &value)?;
        }
        Ok(Some(value))
    }
}

impl Template {
    /// Makes the output of the rendered text: extracts, then follows the pointer.
    fn output(&self, rendered: String) -> Result<StepOutput, Fault> {
        let text = match &self.extract {
            Some(pattern) => extract(pattern, &rendered)
                .map(str::to_owned)
                .unwrap_or(rendered),
            None => rendered,
        };
        let Some(pointer) = &self.pointer else {
            let json = might_be_json(&text)
                .then(|| serde_json::from_str(&text).ok())
                .flatten();
            return Ok(StepOutput {
                text,
                json,
                ..StepOutput::default()
            });
        };
        let mut whole = read_json(&text)?;
        let Some(value) = whole.pointer_mut(pointer).map(Value::take) else {
            let message = format!("nothing is at `{pointer}` in the text");
            return Err(Fault::new("pointer_missing", message));
        };
        Ok(StepOutput {
            text: value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
            json: Some(value),
            ..StepOutput::default()
        })
    }
}

/// The first group of the first match, or the whole match.
pub(crate) fn extract<'t>(pattern: &regex::Regex, text: &'t str) -> Option<&'t str> {
    let found = pattern.captures(text)?;
    found
        .get(1)
        .or_else(|| found.get(0))
        .map(|part| part.as_str())
}

/// Whether a text can be worth reading as JSON.
fn might_be_json(text: &str) -> bool {
    matches!(
        text.trim_start().as_bytes().first(),
        Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
    )
}
