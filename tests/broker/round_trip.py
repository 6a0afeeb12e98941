"""Publishes to itself at each QoS over TLS and checks what comes: round_trip.py HOST PORT CA VERSION."""

import queue
import ssl
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

DEADLINE = 60


def main(host, port, ca, version):
    came = queue.Queue()
    protocol = {"31": mqtt.MQTTv31, "311": mqtt.MQTTv311, "5": mqtt.MQTTv5}[version]
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="paho", protocol=protocol)
    client.tls_set(ca, tls_version=ssl.PROTOCOL_TLS_CLIENT)
    client.on_connect = lambda _c, _u, _f, reason, _p: came.put(("connected", reason.value))
    client.on_subscribe = lambda _c, _u, _m, reasons, _p: came.put(("granted", reasons[0].value))
    client.on_message = lambda _c, _u, message: came.put(("message", message))
    client.connect(host, int(port))
    client.loop_start()
    expect(came.get(timeout=DEADLINE), ("connected", 0))
    client.subscribe("paho/#", 2)
    expect(came.get(timeout=DEADLINE), ("granted", 2))
    for qos in (0, 1, 2):
        payload = bytes([qos]) * 3000
        properties = request(qos) if version == "5" else None
        sent = client.publish("paho/a", payload, qos, properties=properties)
        sent.wait_for_publish(DEADLINE)
        message = came.get(timeout=DEADLINE)[1]
        expect((message.topic, message.qos, message.payload), ("paho/a", qos, payload))
        if properties:
            expect(message.properties.json(), properties.json())
    client.disconnect()
    client.loop_stop()
    print("all came")


def request(qos):
    properties = Properties(PacketTypes.PUBLISH)
    properties.PayloadFormatIndicator = 0
    properties.ContentType = "application/octet-stream"
    properties.ResponseTopic = "paho/answers"
    properties.CorrelationData = bytes([0, 255, qos])
    properties.UserProperty = [("name", "first"), ("name", "second")]
    return properties


def expect(found, wanted):
    if found != wanted:
        sys.exit(f"found {found!r}, wanted {wanted!r}")


main(*sys.argv[1:])
