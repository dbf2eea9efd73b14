//! What the contract has and this version does not give: it is linked and denies.
//!
//! Functions that answer `result<_, error>` say `denied`; getters belong to things that never exist here, so their
//! handles are of types without values and the functions cannot be reached.

use wasmtime::component::Resource;

use super::{Destination, MailMsg, NewMessage, NextHop, OutCommand, OutSession, Refused, ServerResponse, TrackRecord};
use crate::bindings::basin::sink::types::{Datetime, Endpoint, Reply};
use crate::bindings::basin::sink::{message, outbound, transport};
use crate::ended::Ended;
use crate::state::State;

impl State {
    fn refuse<T>(&mut self, grant: &str) -> Result<T, Refused> {
        Err(self.not_given(&format!("the grant {grant}")))
    }

    // A getter of a thing that this version never hands out.
    fn unreachable<T>(&mut self, what: &str) -> wasmtime::Result<T> {
        let why = format!("{what} is not given by this version of basin");
        self.audit(&why);
        Err(Ended::denied(why).into())
    }
}

/// Implements getters and changes of things that never exist.
macro_rules! absent {
    ($grant:literal: $( get $name:ident(&self, $handle:ty $(, $arg:ident: $ty:ty)*) -> $out:ty; )*) => {
        $( fn $name(&mut self, _: Resource<$handle> $(, _: $ty)*) -> wasmtime::Result<$out> {
            self.unreachable(concat!("the grant ", $grant))
        } )*
    };
    ($grant:literal: $( set $name:ident(&self, $handle:ty $(, $arg:ident: $ty:ty)*); )*) => {
        $( fn $name(&mut self, _: Resource<$handle> $(, _: $ty)*) -> Result<(), Refused> {
            self.refuse($grant)
        } )*
    };
}

impl message::HostNewMessage for State {
    fn create(&mut self, _: String, _: Vec<String>) -> Result<Resource<NewMessage>, Refused> {
        self.refuse("submit")
    }

    fn copy_of(&mut self, _: Resource<MailMsg>, _: String, _: Vec<String>) -> Result<Resource<NewMessage>, Refused> {
        self.refuse("submit")
    }

    absent! { "submit":
        set add_header(&self, NewMessage, name: String, value: String);
        set write_body(&self, NewMessage, octets: Vec<u8>);
    }

    absent! { "submit": get drop(&self, NewMessage) -> (); }
}

impl message::Host for State {
    fn submit(&mut self, _: Resource<NewMessage>) -> Result<String, Refused> {
        self.refuse("submit")
    }
}

impl outbound::Host for State {}

impl outbound::HostOutSession for State {
    absent! { "outbound":
        get id(&self, OutSession) -> String;
        get host(&self, OutSession) -> String;
        get remote(&self, OutSession) -> Endpoint;
        get local(&self, OutSession) -> Endpoint;
        get attempt(&self, OutSession) -> u32;
        get banner(&self, OutSession) -> String;
        get extensions(&self, OutSession) -> Vec<String>;
        get tls_version(&self, OutSession) -> Option<String>;
        get property(&self, OutSession, name: String) -> Option<Vec<u8>>;
        get drop(&self, OutSession) -> ();
    }
    absent! { "outbound": set set_property(&self, OutSession, name: String, value: Vec<u8>); }
}

impl outbound::HostOutCommand for State {
    absent! { "outbound":
        get keyword(&self, OutCommand) -> String;
        get line(&self, OutCommand) -> String;
        get native_line(&self, OutCommand) -> String;
        get previous_reply(&self, OutCommand) -> Option<Reply>;
        get drop(&self, OutCommand) -> ();
    }
    absent! { "outbound":
        set set_line(&self, OutCommand, line: String);
        set append_parameter(&self, OutCommand, parameter: String);
    }
}

impl outbound::HostServerResponse for State {
    absent! { "outbound":
        get keyword(&self, ServerResponse) -> String;
        get line(&self, ServerResponse) -> String;
        get reply(&self, ServerResponse) -> Reply;
        get is_pipelined(&self, ServerResponse) -> bool;
        get drop(&self, ServerResponse) -> ();
    }
}

impl transport::Host for State {}

impl transport::HostNextHop for State {
    fn mx(&mut self, _: String) -> Result<Resource<NextHop>, Refused> {
        self.refuse("route")
    }

    fn host(&mut self, _: String, _: u16) -> Result<Resource<NextHop>, Refused> {
        self.refuse("route")
    }

    fn lmtp(&mut self, _: String) -> Result<Resource<NextHop>, Refused> {
        self.refuse("route")
    }

    fn local(&mut self) -> wasmtime::Result<Resource<NextHop>> {
        self.unreachable("the grant route")
    }

    absent! { "route":
        set set_tls(&self, NextHop, level: String);
        set set_credentials(&self, NextHop, name: String);
        set set_source(&self, NextHop, name: String);
    }
    absent! { "route": get drop(&self, NextHop) -> (); }
}

impl transport::HostDestination for State {
    absent! { "route":
        get domain(&self, Destination) -> String;
        get failures(&self, Destination) -> Vec<(String, Reply)>;
        get drop(&self, Destination) -> ();
    }
}

impl transport::HostTrackRecord for State {
    absent! { "track":
        get kind(&self, TrackRecord) -> String;
        get at(&self, TrackRecord) -> Datetime;
        get message_id(&self, TrackRecord) -> String;
        get sender(&self, TrackRecord) -> String;
        get recipient(&self, TrackRecord) -> Option<String>;
        get remote(&self, TrackRecord) -> Option<Endpoint>;
        get reply(&self, TrackRecord) -> Option<Reply>;
        get size(&self, TrackRecord) -> u64;
        get elapsed_ms(&self, TrackRecord) -> u64;
        get drop(&self, TrackRecord) -> ();
    }
}
