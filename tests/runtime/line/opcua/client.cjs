// A client that is not asyncua: node-opcua, over Basic256Sha256 and by certificate. Prepares a recipe, asks for one part
// by the names of OPC 40100-1, waits for its ResultReady event, and prints what it saw as one line of JSON.
//
//     NODE_PATH=DIR/node_modules node client.cjs URL CLIENT.pem CLIENT.key.pem FOLDER PART RECIPE
//
// FOLDER is for the client's own list of servers. docs/opcua.md says how to install node-opcua-client into DIR.
"use strict";
const fs = require("node:fs");
const opcua = require("node-opcua-client");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");

const [url, certificateFile, privateKeyFile, folder, part, recipe] = process.argv.slice(2);
const vision = "http://opcfoundation.org/UA/MachineVision";
const station = "urn:diffad-edge:line";

async function main() {
    const trusting = new OPCUACertificateManager({
        rootFolder: folder, automaticallyAcceptUnknownCertificate: true,
    });
    await trusting.initialize();
    const client = opcua.OPCUAClient.create({
        securityMode: opcua.MessageSecurityMode.SignAndEncrypt,
        securityPolicy: opcua.SecurityPolicy.Basic256Sha256,
        certificateFile, privateKeyFile,
        clientCertificateManager: trusting,
        endpointMustExist: false,
        connectionStrategy: { maxRetry: 1, initialDelay: 100 },
    });
    await client.connect(url);
    const pem = fs.readFileSync(certificateFile, "ascii");
    const session = await client.createSession({
        type: opcua.UserTokenType.Certificate,
        certificateData: Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64"),
        privateKey: fs.readFileSync(privateKeyFile, "ascii"),
    });
    const uris = await session.readNamespaceArray();
    const v = uris.indexOf(vision);
    const s = uris.indexOf(station);

    const structure = async (type, fields) => new opcua.Variant({
        dataType: opcua.DataType.ExtensionObject,
        value: await session.constructExtensionObject(opcua.resolveNodeId(`ns=${v};i=${type}`), fields),
    });
    const call = async (object, method, inputArguments) => {
        const objectId = `ns=${s};s=${object}`;
        const found = await session.translateBrowsePath(opcua.makeBrowsePath(objectId, `/${v}:${method}`));
        return session.call({ objectId, methodId: found.targets[0].targetId, inputArguments });
    };

    const seen = { security: client.securityPolicy, states: [] };
    const prepare = async (name) => call("VisionSystem.RecipeManagement", "PrepareRecipe", [
        await structure(3002, { id: name }), await structure(3013, { id: "" }),
    ]);
    seen.unknownRecipe = (await prepare("no such recipe")).statusCode.name;
    const prepared = await prepare(recipe);
    seen.prepared = [prepared.statusCode.name, prepared.outputArguments[0].value.id];

    const subscription = await session.createSubscription2({
        requestedPublishingInterval: 20, requestedLifetimeCount: 600, requestedMaxKeepAliveCount: 50,
        maxNotificationsPerPublish: 100, publishingEnabled: true, priority: 1,
    });
    const fields = [
        `${v}:JobId`, `${v}:PartId`, `${v}:ResultState`, `${v}:ResultContent`, `${s}:Verdict`, `${s}:Reject`, `${s}:Score`,
    ];
    const ready = new Promise((resolve, reject) => {
        setTimeout(() => reject(new Error("no ResultReady event")), 8000).unref();
        subscription.monitor(
            {
                nodeId: opcua.resolveNodeId(`ns=${s};s=VisionSystem`),
                attributeId: opcua.AttributeIds.EventNotifier,
            },
            {
                queueSize: 10, discardOldest: true,
                filter: opcua.constructEventFilter(fields, opcua.ofType(`ns=${v};i=1024`)),
            },
            opcua.TimestampsToReturn.Both,
        ).then((item) => item.on("changed", resolve), reject);
        setTimeout(async () => {
            try {
                const started = await call(
                    "VisionSystem.VisionStateMachine.AutomaticModeStateMachine", "StartSingleJob",
                    [
                        await structure(3015, { id: "" }), await structure(3004, { id: part }),
                        await structure(3002, { id: "" }), await structure(3003, { id: "" }),
                        new opcua.Variant({ dataType: "Variant", arrayType: opcua.VariantArrayType.Array, value: [] }),
                    ],
                );
                seen.started = [started.statusCode.name, started.outputArguments[0].value.id];
            } catch (error) {
                reject(error);
            }
        }, 200);
    });
    const event = await ready;
    seen.event = {
        jobId: event[0].value.id, partId: event[1].value.id, resultState: event[2].value,
        content: event[3].value[0].value, verdict: event[4].value, reject: event[5].value, score: event[6].value,
    };
    const state = await session.read({
        nodeId: `ns=${s};s=VisionSystem.VisionStateMachine.CurrentState`, attributeId: opcua.AttributeIds.Value,
    });
    seen.state = state.value.value.text;
    await subscription.terminate();
    await session.close();
    await client.disconnect();
    await trusting.dispose();
    console.log(JSON.stringify(seen));
}

main().then(() => process.exit(0), (error) => {
    console.error(String(error.stack || error));
    process.exit(1);
});
