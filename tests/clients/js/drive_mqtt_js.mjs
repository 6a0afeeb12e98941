// A client of MQTT.js. What it says and is told: see ../python/lines.py.

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

import mqtt from 'mqtt'

const SESSION_EXPIRY = 3600

function say(event, facts = {}) {
  process.stdout.write(JSON.stringify({ event, ...facts }) + '\n')
}

function giveUp(why) {
  console.error(why)
  process.exit(1)
}

process.on('unhandledRejection', giveUp)

function connect(command) {
  const isV5 = command.version === '5'
  const will = command.will ?? undefined
  const options = {
    host: command.host,
    port: command.port,
    protocol: command.ca ? 'mqtts' : 'mqtt',
    ca: command.ca ? readFileSync(command.ca) : undefined,
    protocolVersion: isV5 ? 5 : 4,
    clientId: command.id,
    clean: !command.persistent,
    reconnectPeriod: 0,
    properties: isV5 && command.persistent ? { sessionExpiryInterval: SESSION_EXPIRY } : undefined,
    will: will && { topic: will.topic, payload: payloads(will)[0], qos: will.qos, retain: will.retain }
  }
  const client = mqtt.connect(options)
  client.on('message', (topic, payload, packet) => sayMessage(topic, payload, packet, isV5))
  client.on('error', giveUp)
  client.on('close', () => client.disconnecting || giveUp('the connection is lost'))
  client.on('connect', (packet) => say('connected', { session_present: packet.sessionPresent }))
  return client
}

function sayMessage(topic, payload, { qos, retain, properties }, isV5) {
  const found = isV5 ? ofMessage(properties) : null
  say('message', { topic, qos, retain, payload: payload.toString('base64'), properties: found })
}

function payloads(command) {
  return command.payloads.map((payload) => Buffer.from(payload, 'base64'))
}

function ofPublish(wanted) {
  if (!wanted) return undefined
  const userProperties = {}
  for (const [name, value] of wanted.user) (userProperties[name] ??= []).push(value)
  return {
    contentType: wanted.content_type,
    responseTopic: wanted.response_topic,
    correlationData: Buffer.from(wanted.correlation_data),
    userProperties
  }
}

function ofMessage(properties) {
  if (!properties || Object.keys(properties).length === 0) return null
  const pairs = Object.entries(properties.userProperties ?? {})
  return {
    content_type: properties.contentType ?? '',
    response_topic: properties.responseTopic ?? '',
    correlation_data: properties.correlationData?.toString() ?? '',
    user: pairs.flatMap(([name, values]) => [values].flat().map((value) => [name, value]))
  }
}

const actions = {
  async subscribe(client, { filter, qos }) {
    const granted = await client.subscribeAsync(filter, { qos })
    say('subscribed', { qos: granted[0].qos })
  },
  async publish(client, command) {
    const { topic, qos, retain } = command
    const options = { qos, retain, properties: ofPublish(command.properties) }
    await Promise.all(payloads(command).map((one) => client.publishAsync(topic, one, options)))
    say('published')
  },
  async leave(client) {
    await client.endAsync()
    say('left')
    process.exit(0)
  }
}

let client
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  if (command.do === 'connect') client = connect(command)
  else await actions[command.do](client, command)
}
process.exit(0)
