//! MQTT 3.1.1 on raw bytes: what a client of the benchmark writes, and how it takes apart what it
//! reads. A PUBLISH is encoded once and patched for each message.

/// First bytes of packets.
pub(crate) const CONNACK: u8 = 0x20;
pub(crate) const PUBLISH: u8 = 0x30;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;
const SUBSCRIBE: u8 = 0x82;
pub(crate) const SUBACK: u8 = 0x90;
pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
pub(crate) const PINGRESP: u8 = 0xD0;
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// A payload has its publisher and number in front and the number again at its end.
pub(crate) const SMALLEST_PAYLOAD: usize = 20;

/// Sizes of the fixed header and of the whole packet at the front, once it is there.
pub(crate) fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (place, byte) in bytes.iter().enumerate().skip(1).take(4) {
        length |= usize::from(byte & 127) << (7 * (place - 1));
        if byte & 128 == 0 {
            let size = place + 1 + length;
            return (bytes.len() >= size).then_some((place + 1, size));
        }
    }
    None
}

/// Appends a CONNECT without Keep Alive.
pub(crate) fn put_connect(client_id: &str, clean_session: bool, output: &mut Vec<u8>) {
    let mut body = b"\x00\x04MQTT\x04".to_vec();
    body.extend([u8::from(clean_session) << 1, 0, 0]);
    put_text(client_id, &mut body);
    put_packet(0x10, &body, output);
}

/// Appends one SUBSCRIBE with all the filters.
pub(crate) fn put_subscribe(filters: &[String], qos: u8, output: &mut Vec<u8>) {
    let mut body = vec![0, 1];
    for filter in filters {
        put_text(filter, &mut body);
        body.push(qos);
    }
    put_packet(SUBSCRIBE, &body, output);
}

/// Appends an acknowledgement.
pub(crate) fn put_ack(first: u8, id: [u8; 2], output: &mut Vec<u8>) {
    output.extend([first, 2, id[0], id[1]]);
}

/// The Packet Identifier in front of a body; 0, which no packet has, when there is none.
pub(crate) fn packet_id(body: &[u8]) -> [u8; 2] {
    body.first_chunk().copied().unwrap_or_default()
}

fn put_packet(first: u8, body: &[u8], output: &mut Vec<u8>) {
    output.push(first);
    let mut length = body.len();
    while length > 127 {
        output.push((length % 128) as u8 | 128);
        length /= 128;
    }
    output.push(length as u8);
    output.extend_from_slice(body);
}

fn put_text(text: &str, output: &mut Vec<u8>) {
    output.extend((text.len() as u16).to_be_bytes());
    output.extend(text.as_bytes());
}

/// A PUBLISH that came.
pub(crate) struct Publish<'a> {
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) id: [u8; 2],
    pub(crate) payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// `None` when it is too short.
    pub(crate) fn parse(first: u8, body: &'a [u8]) -> Option<Self> {
        let qos = first >> 1 & 3;
        let rest = body.get(2 + usize::from(u16::from_be_bytes(*body.first_chunk()?))..)?;
        let (id, payload) =
            if qos == 0 { ([0; 2], rest) } else { (*rest.first_chunk()?, &rest[2..]) };
        Some(Self { qos, retain: first & 1 == 1, id, payload })
    }

    /// Publisher and number, when the payload is whole and of this size.
    pub(crate) fn stamp(&self, size: usize) -> Option<(usize, u64)> {
        let publisher = u32::from_be_bytes(*self.payload.first_chunk()?);
        let number = u64::from_be_bytes(*self.payload.get(4..)?.first_chunk()?);
        let end = u64::from_be_bytes(*self.payload.last_chunk()?);
        (end == number && self.payload.len() == size).then_some((publisher as usize, number))
    }

    /// Appends what its QoS asks for.
    pub(crate) fn acknowledge(&self, output: &mut Vec<u8>) {
        match self.qos {
            1 => put_ack(PUBACK, self.id, output),
            2 => put_ack(PUBREC, self.id, output),
            _ => {}
        }
    }
}

/// The bytes of a PUBLISH, and where its Packet Identifier and payload stand.
pub(crate) struct Template {
    bytes: Vec<u8>,
    id: Option<usize>,
    payload: usize,
}

impl Template {
    pub(crate) fn new(publisher: usize, topic: &str, qos: u8, size: usize, retain: bool) -> Self {
        let mut body = Vec::new();
        put_text(topic, &mut body);
        if qos > 0 {
            body.extend([0, 0]);
        }
        let variable = body.len();
        body.extend((publisher as u32).to_be_bytes());
        body.resize(variable + size.max(SMALLEST_PAYLOAD), b'x');
        let mut bytes = Vec::new();
        put_packet(PUBLISH | qos << 1 | u8::from(retain), &body, &mut bytes);
        let payload = bytes.len() - body.len() + variable;
        Self { bytes, id: (qos > 0).then(|| payload - 2), payload }
    }

    /// Appends message `number`.
    pub(crate) fn put(&self, number: u64, output: &mut Vec<u8>) {
        let start = output.len();
        output.extend_from_slice(&self.bytes);
        let packet = &mut output[start..];
        if let Some(id) = self.id {
            let value = (number % 65_535) as u16 + 1;
            packet[id..id + 2].copy_from_slice(&value.to_be_bytes());
        }
        let number = number.to_be_bytes();
        packet[self.payload + 4..self.payload + 12].copy_from_slice(&number);
        let end = packet.len() - 8;
        packet[end..].copy_from_slice(&number);
    }
}
