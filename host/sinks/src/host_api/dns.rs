//! `dns`: the server's resolver.

use core::net::IpAddr;

use basin_core::event::Grant;

use super::{Refused, invalid};
use crate::bindings::basin::sink::dns::Host;
use crate::state::State;

impl Host for State {
    async fn addresses(&mut self, name: String) -> Result<Vec<String>, Refused> {
        self.question(&name)?;
        let found = self.wait_for(|host| host.addresses(&name)).await?;
        Ok(self.give(found.iter().map(ToString::to_string).collect::<Vec<_>>())?)
    }

    async fn mx(&mut self, domain: String) -> Result<Vec<(u16, String)>, Refused> {
        self.question(&domain)?;
        let found = self.wait_for(|host| host.exchangers(&domain)).await?;
        found.iter().for_each(|(_, host)| self.taken(host));
        Ok(found)
    }

    async fn txt(&mut self, name: String) -> Result<Vec<String>, Refused> {
        self.question(&name)?;
        let found = self.wait_for(|host| host.texts(&name)).await?;
        Ok(self.give(found)?)
    }

    async fn ptr(&mut self, address: String) -> Result<Vec<String>, Refused> {
        self.question(&address)?;
        let address: IpAddr = address.parse().map_err(|_| invalid("this is no IPv4 or IPv6 address"))?;
        let found = self.wait_for(|host| host.names(address)).await?;
        Ok(self.give(found)?)
    }
}

impl State {
    fn question(&mut self, asked: &String) -> Result<(), Refused> {
        self.taken(asked);
        self.service(Grant::Dns)
    }
}
