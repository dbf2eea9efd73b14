//! SIGHUP: the configuration is read again.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use basin_outbound::Outbound;
use tokio::task::JoinSet;

use super::{Server, configure_queue, outgoing, raise_open_files, signing_policy};
use crate::config::{self, Config};
use crate::signing::Signing;
use crate::sink_host::Sizes;
use crate::telemetry::records::Reloaded;

impl Server {
    /// Reads the configuration again and puts in force what can change without a restart: all of it, or nothing.
    pub(super) fn reload(&self, work: &mut JoinSet<()>) {
        match self.change(work) {
            Ok(needs_restart) => Reloaded { result: Ok(&needs_restart) }.record(),
            Err(error) => Reloaded { result: Err(&format!("{error:#}")) }.record(),
        }
    }

    fn change(&self, work: &mut JoinSet<()>) -> anyhow::Result<Vec<&'static str>> {
        let written = Config::read(&self.config.file)?;
        let needs_restart = self.config.needs_restart(&written);
        // The spool does not move while the server runs, nor what lies below it.
        let config = Config { spool: self.config.spool.clone(), ..written };
        if self.began.is_loopback_only && config.is_exposed() {
            bail!("a listener is not on loopback, and the server runs as root; set `user` and restart it");
        }
        let options = outgoing::options(&config, &self.services.randomness, self.reports.clone());
        let outbound = Outbound::new(options)?;
        let signing = Signing::load(&config)?;
        let current = self.current(&config);
        // Last of what can fail: it binds ports.
        for listener in self.doors.change(current.clone()).context("the listeners cannot be changed")? {
            work.spawn(listener.run(self.services.clone(), self.services.stopper.subscribe()));
        }
        raise_open_files(&current);
        self.services.directory.store(config.directory.clone());
        self.sizes.store(Arc::new(Sizes::of(&config.listeners)));
        self.transport.store(Arc::new(signing_policy(&current, &signing)));
        self.signing.store(Arc::new(signing));
        // Visits that are under way end by the settings that they began with.
        self.outbound.store(Arc::new(outbound));
        configure_queue(&self.services.queue, &current);
        self.services.queue.rethink();
        self.began.level.set(config.log.level);
        Ok(needs_restart)
    }

    // Directories and what was allotted at the start stay as they were; `Config::needs_restart` names them.
    fn current(&self, config: &Config) -> Config {
        Config {
            listeners: config.listeners.clone(),
            certificates: config.certificates.clone(),
            users_file: config.users_file.clone(),
            senders: config.senders.clone(),
            directory: config.directory.clone(),
            domains: config.domains.clone(),
            aliases: config.aliases.clone(),
            postmaster: config.postmaster.clone(),
            relay_clients: config.relay_clients.clone(),
            queue: config.queue.clone(),
            routes: config.routes.clone(),
            message_auth: config.message_auth.clone(),
            outbound: config::Outbound { connections: self.config.outbound.connections, ..config.outbound.clone() },
            ..self.config.clone()
        }
    }
}
