// A small application of kafkajs: the scenarios of tests/clients/test_applications.py, as
//   node application.cjs BOOTSTRAP SCENARIO ARGUMENT...
// which prints what it saw as one line of JSON. The modules are found by NODE_PATH.
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, AclResourceTypes, AclOperationTypes,
  AclPermissionTypes, ResourcePatternTypes, logLevel } = require('kafkajs')
const snappy = require('kafkajs-snappy')

CompressionCodecs[CompressionTypes.Snappy] = snappy
const CODEC_RECORDS = 50
const GROUP_PARTITIONS = 4
const GROUP_RECORDS = 40
const TRANSACTIONS = 10
const TRANSACTION_PARTITIONS = 3
const PIPE_RECORDS = 60
const PIPE_BATCH = 5
const PIPE_PARTITIONS = 2
const WAIT_MS = 60000

const [bootstrap, scenario, ...argumentsOfScenario] = process.argv.slice(2)
const kafka = new Kafka({ clientId: 'kafkajs', brokers: [bootstrap], logLevel: logLevel.NOTHING })
const range = (count) => [...Array(count).keys()]

async function eventually(what, check) {
  for (const deadline = Date.now() + WAIT_MS; !check();) {
    if (Date.now() > deadline) throw new Error(`${what} did not come true`)
    await new Promise((done) => setTimeout(done, 10))
  }
}

async function create(topic, partitions) {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: partitions, replicationFactor: 1 }] })
  await admin.disconnect()
}

async function startProducer(settings = {}) {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, ...settings })
  await producer.connect()
  return producer
}

// Reads a topic from its beginning, in a group of its own, until `enough` says so of the values so far.
async function read(topic, settings, enough) {
  const consumer = kafka.consumer({ groupId: `reader-${process.pid}-${Date.now()}`, ...settings })
  const values = []
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => { values.push(message.value.toString()) } })
  await eventually('everything read', () => enough(values))
  await consumer.disconnect()
  return values
}

async function codecs(topic) {
  await create(topic, 3)
  const all = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy }
  const producer = await startProducer()
  for (const [name, compression] of Object.entries(all)) {
    await producer.send({
      topic, acks: -1, compression,
      messages: range(CODEC_RECORDS).map((n) => ({
        partition: n % 3, key: `${n}`, value: `${name}-${n}-${'x'.repeat(200)}`, headers: { codec: name },
      })),
    })
  }
  await producer.disconnect()
  const count = Object.keys(all).length * CODEC_RECORDS
  return { codecs: Object.keys(all), read: await read(topic, {}, (values) => values.length >= count) }
}

// A member of a group that commits each record when it has read it.
async function join(topic, groupId, values) {
  const consumer = kafka.consumer({ groupId, heartbeatInterval: 500, sessionTimeout: 10000 })
  const member = { has: 0, leave: () => consumer.disconnect() }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => { member.has = (payload.memberAssignment[topic] || []).length })
  consumer.on(consumer.events.REBALANCING, () => { member.has = 0 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      values.push(message.value.toString())
      await consumer.commitOffsets([{ topic, partition, offset: `${Number(message.offset) + 1}` }])
    },
  })
  return member
}

async function group(topic, groupId) {
  await create(topic, GROUP_PARTITIONS)
  const producer = await startProducer()
  const seen = {}
  const values = []
  const rest = []
  let sent = 0
  const produce = async () => {
    for (const end = sent + GROUP_RECORDS; sent < end; sent++) {
      await producer.send({ topic, acks: -1, messages: [{ partition: sent % GROUP_PARTITIONS, value: `${sent}` }] })
    }
  }
  await produce()
  const first = await join(topic, groupId, values)
  await eventually('all records read', () => values.length >= sent)
  seen.alone = first.has
  const second = await join(topic, groupId, values)
  await eventually('two equal shares', () => first.has === 2 && second.has === 2)
  seen.shared = [first.has, second.has]
  await produce()
  await eventually('all records read by two', () => values.length >= sent)
  await second.leave()
  await eventually('everything with one', () => first.has === GROUP_PARTITIONS)
  await first.leave()
  seen.read = values
  await produce()
  const third = await join(topic, groupId, rest)
  await eventually('the rest read', () => rest.length >= GROUP_RECORDS)
  await third.leave()
  await producer.disconnect()
  return { ...seen, resumed: rest }
}

async function transactions(topic, transactionalId) {
  await create(topic, TRANSACTION_PARTITIONS)
  const producer = await startProducer({ transactionalId })
  for (const n of range(TRANSACTIONS + 1)) {
    const transaction = await producer.transaction()
    for (const partition of range(TRANSACTION_PARTITIONS)) {
      await transaction.send({ topic, acks: -1, messages: [{ partition, value: `${n}-${partition}` }] })
    }
    await (n % 2 === 0 ? transaction.commit() : transaction.abort())
  }
  await producer.disconnect()
  // The last transaction is a committed one: who has read it from all partitions has read all there is before it.
  const last = (values) => values.filter((v) => v.startsWith(`${TRANSACTIONS}-`)).length === TRANSACTION_PARTITIONS
  return {
    committed: await read(topic, { readUncommitted: false }, last),
    uncommitted: await read(topic, { readUncommitted: true }, last),
  }
}

async function pipe(input, output, groupId) {
  await create(input, PIPE_PARTITIONS)
  await create(output, PIPE_PARTITIONS)
  const feed = await startProducer()
  await feed.send({
    topic: input, acks: -1, messages: range(PIPE_RECORDS).map((n) => ({ partition: n % PIPE_PARTITIONS, value: `${n}` })),
  })
  await feed.disconnect()
  const producer = await startProducer({ transactionalId: groupId })
  const consumer = kafka.consumer({ groupId, readUncommitted: false })
  let committed = 0
  let aborted = 0
  let turn = 0
  const failures = []
  await consumer.connect()
  await consumer.subscribe({ topic: input, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset }) => {
      try {
        for (let at = 0; at < batch.messages.length; at += PIPE_BATCH) {
          const some = batch.messages.slice(at, at + PIPE_BATCH)
          const offset = `${Number(some[some.length - 1].offset) + 1}`
          const transaction = await producer.transaction()
          await transaction.send({
            topic: output, acks: -1, messages: some.map(({ value }) => ({ partition: batch.partition, value })),
          })
          await transaction.sendOffsets({
            consumerGroupId: groupId,
            topics: [{ topic: input, partitions: [{ partition: batch.partition, offset }] }],
          })
          turn += 1
          if (turn % 3 === 0) {
            await transaction.abort()
            aborted += 1
            consumer.seek({ topic: input, partition: batch.partition, offset: some[0].offset })
            return
          }
          await transaction.commit()
          committed += some.length
          resolveOffset(some[some.length - 1].offset)
        }
      } catch (error) {
        failures.push(error)
        throw error
      }
    },
  })
  await eventually('all records copied', () => {
    if (failures.length) throw failures[0]
    return committed >= PIPE_RECORDS
  })
  await consumer.disconnect()
  await producer.disconnect()
  const admin = kafka.admin()
  await admin.connect()
  const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [input] })
  await admin.disconnect()
  return {
    offsets: partitions.reduce((sum, { offset }) => sum + Number(offset), 0),
    aborted,
    out: await read(output, { readUncommitted: false }, (values) => values.length >= PIPE_RECORDS),
  }
}

// Calls what the admin client has, in an order in which each finds what it needs.
async function admin(topic, groupId) {
  const calls = {}
  const client = kafka.admin()
  await client.connect()
  const note = async (name, call) => {
    try {
      await call()
      calls[name] = 'ok'
    } catch (error) {
      calls[name] = `error: ${error.message}`
    }
  }
  const partitions = [{ partition: 0, offset: '1' }]
  const acl = {
    resourceType: AclResourceTypes.TOPIC, resourceName: topic, resourcePatternType: ResourcePatternTypes.LITERAL,
    principal: 'User:a', host: '*', operation: AclOperationTypes.READ, permissionType: AclPermissionTypes.ALLOW,
  }
  const configs = { resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'segment.bytes', value: '2097152' }] }] }
  await note('createTopics', () => client.createTopics({
    topics: [{ topic, numPartitions: 2, replicationFactor: 1, configEntries: [{ name: 'retention.ms', value: '60000' }] }],
  }))
  await note('createPartitions', () => client.createPartitions({ topicPartitions: [{ topic, count: 3 }] }))
  await note('listTopics', () => client.listTopics())
  await note('fetchTopicMetadata', () => client.fetchTopicMetadata({ topics: [topic] }))
  await note('describeCluster', () => client.describeCluster())
  await note('describeConfigs', () => client.describeConfigs({ includeSynonyms: true, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] }))
  await note('alterConfigs', () => client.alterConfigs({ ...configs, validateOnly: false }))
  const producer = await startProducer()
  await producer.send({ topic, acks: -1, messages: range(6).map((n) => ({ partition: n % 3, value: 'v' })) })
  await producer.disconnect()
  await note('fetchTopicOffsets', () => client.fetchTopicOffsets(topic))
  await note('fetchTopicOffsetsByTimestamp', () => client.fetchTopicOffsetsByTimestamp(topic, Date.now() - 3600000))
  await note('deleteTopicRecords', () => client.deleteTopicRecords({ topic, partitions }))
  await note('alterPartitionReassignments', () => client.alterPartitionReassignments({
    topics: [{ topic, partitionAssignment: [{ partition: 0, replicas: [1] }] }],
  }))
  await note('listPartitionReassignments', () => client.listPartitionReassignments({}))
  await note('setOffsets', () => client.setOffsets({ groupId, topic, partitions }))
  await note('fetchOffsets', () => client.fetchOffsets({ groupId, topics: [topic] }))
  await note('resetOffsets', () => client.resetOffsets({ groupId, topic, earliest: true }))
  await note('listGroups', () => client.listGroups())
  await note('describeGroups', () => client.describeGroups([groupId]))
  await note('deleteGroups', () => client.deleteGroups([groupId]))
  await note('createAcls', () => client.createAcls({ acl: [acl] }))
  await note('describeAcls', () => client.describeAcls(acl))
  await note('deleteAcls', () => client.deleteAcls({ filters: [acl] }))
  await note('deleteTopics', () => client.deleteTopics({ topics: [topic] }))
  await client.disconnect()
  return calls
}

const scenarios = { codecs, group, transactions, pipe, admin }
scenarios[scenario](...argumentsOfScenario).then(
  (seen) => { console.log(JSON.stringify(seen)) },
  (error) => { console.error(error); process.exit(1) },
)
