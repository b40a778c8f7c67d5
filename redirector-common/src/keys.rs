//! Keys of the tables, of each address family.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::order::{Be16, Be32, Be128};

macro_rules! keys {
    ($family:literal, $address:ty, $words:literal, $endpoint:ident $endpoint_len:literal,
     $tuple:ident $tuple_len:literal, $fragment:ident $fragment_len:literal,
     $client:ident $client_len:literal) => {
        #[doc = concat!("An ", $family, " address, port and protocol, in network order.")]
        #[doc = concat!("Shape: ", stringify!($endpoint_len), " bytes.")]
        #[derive(
            Debug,
            Clone,
            Copy,
            PartialEq,
            Eq,
            Hash,
            FromBytes,
            IntoBytes,
            Immutable,
            KnownLayout,
            Default,
        )]
        #[repr(C, align(8))]
        pub struct $endpoint {
            /// Address.
            pub address: $address,
            /// Port; zero for all ports, and for protocols without.
            pub port: Be16,
            /// Protocol number; zero for all without an entry of their own.
            pub protocol: u8,
            /// Zero.
            pub pad: u8,
            /// Zero.
            pub pad_words: [u16; $words],
        }

        #[doc = concat!("Source and destination of an ", $family, " packet, in network order.")]
        #[doc = concat!("Shape: ", stringify!($tuple_len), " bytes.")]
        #[derive(
            Debug,
            Clone,
            Copy,
            PartialEq,
            Eq,
            Hash,
            FromBytes,
            IntoBytes,
            Immutable,
            KnownLayout,
            Default,
        )]
        #[repr(C, align(8))]
        pub struct $tuple {
            /// Source address: of a flow, the client.
            pub source: $address,
            /// Destination address: of a flow, the service address.
            pub destination: $address,
            /// Source port.
            pub source_port: Be16,
            /// Destination port.
            pub destination_port: Be16,
            /// Protocol number.
            pub protocol: u8,
            /// Zero. Not an array of bytes, which the compiler would fill in a loop.
            pub pad: u8,
            /// Zero.
            pub pad_word: u16,
        }

        #[doc = concat!("A fragmented ", $family, " packet, in network order.")]
        #[doc = concat!("Shape: ", stringify!($fragment_len), " bytes.")]
        #[derive(
            Debug,
            Clone,
            Copy,
            PartialEq,
            Eq,
            Hash,
            FromBytes,
            IntoBytes,
            Immutable,
            KnownLayout,
            Default,
        )]
        #[repr(C, align(8))]
        pub struct $fragment {
            /// Source address.
            pub source: $address,
            /// Destination address.
            pub destination: $address,
            /// Identification, as it lies in the header.
            pub identification: u32,
            /// Protocol number; zero where fragments of one packet may name several.
            pub protocol: u8,
            /// Zero. Not an array of bytes, which the compiler would fill in a loop.
            pub pad: u8,
            /// Zero.
            pub pad_word: u16,
        }

        #[doc = concat!("An ", $family, " client of a device.")]
        #[doc = concat!("Shape: ", stringify!($client_len), " bytes.")]
        #[derive(
            Debug,
            Clone,
            Copy,
            PartialEq,
            Eq,
            Hash,
            FromBytes,
            IntoBytes,
            Immutable,
            KnownLayout,
            Default,
        )]
        #[repr(C, align(4))]
        pub struct $client {
            /// Client's address.
            pub client: $address,
            /// Device.
            pub device: u32,
        }

        const _: () = assert!(size_of::<$endpoint>() == $endpoint_len);
        const _: () = assert!(size_of::<$tuple>() == $tuple_len);
        const _: () = assert!(size_of::<$fragment>() == $fragment_len);
        const _: () = assert!(size_of::<$client>() == $client_len);
    };
}

keys!("IPv4", Be32, 0, Endpoint4 8, Tuple4 16, FragmentKey4 16, ClientKey4 8);
keys!("IPv6", Be128, 2, Endpoint6 24, Tuple6 40, FragmentKey6 40, ClientKey6 20);

/// What an ICMP error quotes of an IPv4 packet. Shape: 28 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Quote4 {
    /// Its words.
    pub words: [Be16; 14],
}

/// What an ICMP error of ours quotes of an IPv6 packet. Shape: 48 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Quote6 {
    /// Its words.
    pub words: [Be16; 24],
}
