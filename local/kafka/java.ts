/**
 * The Java that runs the broker: `JAVA_HOME` if set, otherwise `java` from the PATH; 17 or newer, as Kafka 4 asks.
 */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Environment } from '../../ingest/runtime/config.ts'
import { CannotStart } from '../child.ts'

const OLDEST = 17
const REMEDY =
  'install a JRE (Debian: apt-get install openjdk-17-jre-headless) or point KAFKA_BROKERS at an existing cluster'

/** The feature release in what `java -version` prints: 17 in `openjdk version "17.0.15"`, 8 in `java version "1.8.0_402"`. */
export function javaRelease(printed: string): number | undefined {
  const match = /version "(?:1\.)?(\d+)/.exec(printed)
  return match ? Number(match[1]) : undefined
}

/** @throws CannotStart if there is none, or only an older one */
export async function findJava(environment: Environment): Promise<string> {
  const java = environment.JAVA_HOME ? join(environment.JAVA_HOME, 'bin', 'java') : 'java'
  const printed = await promisify(execFile)(java, ['-version'], { env: environment }).then(
    // `java -version` speaks on stderr.
    ({ stdout, stderr }) => stderr + stdout,
    () => {
      throw new CannotStart(`Java ${OLDEST} or newer is needed to run the local Kafka broker: ${REMEDY}`)
    },
  )
  const release = javaRelease(printed)
  if (release !== undefined && release < OLDEST)
    throw new CannotStart(
      `Java ${OLDEST} or newer is needed to run the local Kafka broker, ${java} is ${release}: ${REMEDY}`,
    )
  return java
}
