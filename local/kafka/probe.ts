/**
 * Is the broker there? It is once it lists itself as alive: its port answers a moment before it may lead a partition.
 */
import { Kafka, logLevel } from 'kafkajs'

const CONNECT_TIMEOUT_MS = 1_000
const ANSWER_TIMEOUT_MS = 3_000

/** @returns undefined when topics can be made and written. Rejects without an answer. */
export async function probeBroker(port: number): Promise<string | undefined> {
  const admin = new Kafka({
    clientId: 'stream-quality-probe',
    brokers: [`127.0.0.1:${port}`],
    connectionTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: ANSWER_TIMEOUT_MS,
    // No answer is an answer here: the caller decides how long to ask.
    retry: { retries: 0 },
    logLevel: logLevel.NOTHING,
  }).admin()
  try {
    await admin.connect()
    const { brokers, controller } = await admin.describeCluster()
    return brokers.length > 0 && controller !== null ? undefined : 'waiting for the controller to let the broker in'
  } finally {
    await admin.disconnect()
  }
}
