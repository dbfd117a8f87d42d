/**
 * The broker's jars: fetched once by Maven as `pom.xml` pins them, kept in a directory of the user's cache named after that
 * file's content. The directory is complete or absent (fetched beside it, then renamed), so several may fetch at once and
 * the second start does not call Maven.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Environment } from '../../ingest/runtime/config.ts'
import { CannotStart } from '../child.ts'

const POM = join(import.meta.dirname, 'pom.xml')
/** Names every jar of the directory: cache cleaners delete single files by age. */
const LIST = 'jars.txt'
const MAVEN_TIMEOUT_MS = 600_000
const OTHERWISE = 'or point KAFKA_BROKERS at an existing cluster'

/**
 * @param announce called before the minutes that a first fetch can take
 * @returns the directory of the jars
 * @throws CannotStart if Maven is missing or fails, and the cache has no copy
 */
export async function brokerJars(environment: Environment, announce: (what: string) => void): Promise<string> {
  const cache = environment.XDG_CACHE_HOME || join(environment.HOME || homedir(), '.cache')
  const directory = join(cache, 'stream-quality', `kafka-${await pomHash()}`)
  if (await isComplete(directory)) return directory
  announce('fetching the Kafka broker with Maven (about 43 MB, once)')
  await mkdir(join(directory, '..'), { recursive: true })
  const fetched = await mkdtemp(`${directory}.`)
  try {
    await runMaven(fetched, environment)
    await writeFile(join(fetched, LIST), (await readdir(fetched)).join('\n'))
    await moveInto(fetched, directory)
  } finally {
    await rm(fetched, { recursive: true, force: true })
  }
  return directory
}

async function pomHash(): Promise<string> {
  return createHash('sha256')
    .update(await readFile(POM))
    .digest('hex')
    .slice(0, 12)
}

async function isComplete(directory: string): Promise<boolean> {
  try {
    const listed = (await readFile(join(directory, LIST), 'utf8')).split('\n')
    const present = new Set(await readdir(directory))
    return listed.every(jar => present.has(jar))
  } catch {
    return false
  }
}

/** Whoever renames first wins, and the others use that. A directory that has lost jars is in the way of all and goes. */
async function moveInto(fetched: string, directory: string): Promise<void> {
  try {
    await rename(fetched, directory)
  } catch {
    if (await isComplete(directory)) return
    await rm(directory, { recursive: true, force: true })
    await rename(fetched, directory)
  }
}

async function runMaven(into: string, environment: Environment): Promise<void> {
  const goal = ['dependency:copy-dependencies', `-DoutputDirectory=${into}`, '-DincludeScope=runtime']
  try {
    await promisify(execFile)('mvn', ['-q', '-B', '-ntp', '-Dstyle.color=never', '-f', POM, ...goal], {
      env: environment,
      timeout: MAVEN_TIMEOUT_MS,
    })
  } catch (error) {
    throw new CannotStart(mavenFault(error))
  }
}

function mavenFault(error: unknown): string {
  const { code, stdout = '' } = error as NodeJS.ErrnoException & { stdout?: string }
  if (code === 'ENOENT')
    return `Maven is needed once to fetch the local Kafka broker: install it (Debian: apt-get install maven) ${OTHERWISE}`
  const said = stdout.split('\n').find(line => line.startsWith('[ERROR]')) ?? String(error)
  return `Maven could not fetch the local Kafka broker (${said.replace('[ERROR]', '').trim().slice(0, 300)}): check the network and Maven's settings, ${OTHERWISE}`
}
