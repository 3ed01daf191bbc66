//! `fapo sim`: serves a simulated model until it is interrupted.

use std::net::{Ipv4Addr, SocketAddr};

use fapo_sim::{SimServer, World};

use super::Context;
use super::advice::Advice;
use super::args::SimArgs;
use super::signals::Signals;
use crate::exit::Exit;

pub async fn run(context: &Context, args: &SimArgs) -> anyhow::Result<Exit> {
    let text = std::fs::read_to_string(&args.world).map_err(|source| {
        Advice::because(
            format!("cannot read {}", args.world.display()),
            "--world names the file that says how the simulated model behaves",
            source,
        )
    })?;
    let world = World::load(&text)?;
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let handle = SimServer::start(world, wanted).await.map_err(|source| {
        Advice::because(
            format!("cannot listen on {wanted}"),
            "choose another port with --port; 0 picks a free one",
            source,
        )
    })?;
    // before the address is said: whoever reads it may stop this at once
    let mut signals = Signals::take()?;
    let url = handle.base_url();
    if context.output.json {
        context.output.json(&serde_json::json!({"base_url": url}))?;
    } else {
        context.output.data(&url)?;
        context.output.note(&format!(
            "in fapo.yaml: base_url: \"{url}\"   (any key will do; Ctrl-C ends it)"
        ));
    }
    signals.next().await;
    let stats = handle.stats();
    handle.stop().await;
    context.output.note(&serde_json::to_string(&stats)?);
    Ok(Exit::Ok)
}
