/** A topic as the ingester would make it, for tests without one. */
import { Kafka, logLevel } from 'kafkajs'

export async function createTopic(brokers: string, topic: string, numPartitions = 1): Promise<void> {
  const admin = new Kafka({ brokers: [brokers], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    const configEntries = [{ name: 'message.timestamp.type', value: 'LogAppendTime' }]
    await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions, configEntries }] })
  } finally {
    await admin.disconnect()
  }
}
