"""A client of paho-mqtt, with its own network thread."""

import queue
import threading

import lines
import paho.mqtt.client as mqtt
import paho_properties as properties


class Client:
    def __init__(self, command):
        is_v5 = command["version"] == "5"
        self.answers = queue.Queue()
        self.leaving = threading.Event()
        self.client = client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=command["id"],
            clean_session=None if is_v5 else not command["persistent"],
            protocol=mqtt.MQTTv5 if is_v5 else mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        context = lines.tls_context(command)
        if context:
            client.tls_set_context(context)
        if will := command["will"]:
            payload = lines.payloads(will)[0]
            client.will_set(will["topic"], payload, will["qos"], will["retain"])
        client.on_connect = self.connected
        client.on_subscribe = lambda _c, _u, _m, reasons, _p: self.answers.put(reasons[0].value)
        client.on_message = self.came
        client.on_disconnect = self.lost
        clean = {"clean_start": not command["persistent"]} if is_v5 else {}
        of_connect = properties.of_connect(command)
        client.connect(command["host"], command["port"], properties=of_connect, **clean)
        client.loop_start()
        lines.say("connected", session_present=self.answers.get(timeout=lines.PATIENCE))

    def connected(self, _client, _user, flags, reason, _properties):
        if reason.is_failure:
            lines.give_up(f"refused: {reason}")
        self.answers.put(flags.session_present)

    def came(self, _client, _user, message):
        found = properties.of_message(getattr(message, "properties", None))
        lines.say_message(message.topic, message.qos, message.retain, message.payload, found)

    def lost(self, _client, _user, _flags, reason, _properties):
        if not self.leaving.is_set():
            lines.give_up(f"the connection is lost: {reason}")

    def subscribe(self, command):
        self.client.subscribe(command["filter"], command["qos"])
        lines.say("subscribed", qos=self.answers.get(timeout=lines.PATIENCE))

    def publish(self, command):
        publish = self.client.publish
        topic, qos, retain = command["topic"], command["qos"], command["retain"]
        of_publish = properties.of_publish(command["properties"])
        sent = [publish(topic, one, qos, retain, of_publish) for one in lines.payloads(command)]
        for message in sent:
            message.wait_for_publish(lines.PATIENCE)
            if not message.is_published():
                lines.give_up(f"a PUBLISH of QoS {qos} is not acknowledged")
        lines.say("published")

    def leave(self):
        self.leaving.set()
        self.client.disconnect()
        self.client.loop_stop()
        lines.say("left")


def main():
    client = Client(lines.next_command())
    while True:
        command = lines.next_command()
        if command["do"] == "leave":
            return client.leave()
        {"subscribe": client.subscribe, "publish": client.publish}[command["do"]](command)


lines.run(main)
